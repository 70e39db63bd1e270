/**
 * HTTP/1.1 for relaying (RFC 9110, RFC 9112), strict about where messages end: a server that answers
 * pipelined requests in order and sheds slow clients, and a client over kept connections. A head is
 * sent with the first bytes of its body, the chunks of one read go on as one piece, and no
 * connection has a timer of its own.
 */
export {
  type ClientCall,
  type ClientListener,
  type ClientRequest,
  HttpClient,
  type HttpClientOptions,
} from './client.ts';
export type { Fields } from './core/fields.ts';
export { HttpServer, type HttpServerOptions } from './server.ts';
export type { ServerRequest } from './server-request.ts';
export type { ServerResponse } from './server-response.ts';
