import { type Fields, parseFields } from './fields.ts';
import { malformed } from './malformed.ts';

/** How the body ends: after so many bytes, with the last chunk, or with the connection. */
type ResponseBody = number | 'chunked' | 'until-close';

export interface ResponseHead {
  readonly status: number;
  readonly headers: Fields;
  readonly body: ResponseBody;
  readonly keepsAlive: boolean;
}

const isStatusLine = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [^\r]*)?$/;

/** Reads what `HeadReader` gives. Throws `MALFORMED`. */
export function parseResponseHead(text: string, method: string): ResponseHead {
  const lineEnd = text.indexOf('\r\n');
  const match = isStatusLine.exec(text.slice(0, lineEnd));
  if (match === null) throw malformed('the answer is not HTTP/1.1');
  const minor = match[1] === '1' ? 1 : 0;
  const status = Number(match[2]);
  const parsed = parseFields(text, lineEnd + 2);
  if (parsed.chunked && minor === 0) throw malformed('HTTP/1.0 knows no transfer-encoding');
  const hasNone = method === 'HEAD' || status < 200 || status === 204 || status === 304;
  const body = hasNone ? 0 : parsed.chunked ? 'chunked' : (parsed.contentLength ?? 'until-close');
  return {
    status,
    headers: parsed.fields,
    body,
    keepsAlive: body !== 'until-close' && !parsed.close && (minor === 1 ? true : parsed.keepAlive),
  };
}
