/** The way to all instances: HTTP over kept connections. */
export {
  type ClientCall as UpstreamCall,
  type Fields as UpstreamHeaders,
  HttpClient as Upstream,
} from '@tsukimi/http';
