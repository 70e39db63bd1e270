import { type Fields, parseFields } from './fields.ts';
import { malformed } from './malformed.ts';

export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly minor: 0 | 1;
  readonly headers: Fields;
  /** Bytes of the body; null when it comes in chunks. */
  readonly bodyByteCount: number | null;
  readonly keepsAlive: boolean;
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']);
const isHost = /^(?:[\w.~!$&'()*+,;=%-]*|\[[\da-fA-F:.]+\])(?::\d{0,5})?$/;

/** Reads what `HeadReader` gives. Throws `MALFORMED`. */
export function parseRequestHead(text: string): RequestHead {
  const lineEnd = text.indexOf('\r\n');
  const methodEnd = text.indexOf(' ');
  const targetEnd = text.indexOf(' ', methodEnd + 1);
  if (methodEnd < 0 || targetEnd < 0 || targetEnd > lineEnd) {
    throw malformed('the first line is not a method, a target and a version');
  }
  const method = text.slice(0, methodEnd);
  if (!methods.has(method)) throw malformed('the method is not known');
  const target = text.slice(methodEnd + 1, targetEnd);
  if (!isTarget(target)) throw malformed('the target is not a path');
  const minor = minorOf(text.slice(targetEnd + 1, lineEnd));
  const parsed = parseFields(text, lineEnd + 2);
  const { fields, contentLength, chunked } = parsed;
  if (chunked && minor === 0) throw malformed('HTTP/1.0 knows no transfer-encoding');
  const host = fields['host'];
  if (host === undefined ? minor === 1 : !isHost.test(host)) {
    throw malformed('host is missing or not a host');
  }
  // What follows a wish for another protocol may be taken for that one.
  const isLast = parsed.close || (parsed.upgrade && fields['upgrade'] !== undefined);
  return {
    method,
    target,
    minor,
    headers: fields,
    bodyByteCount: chunked ? null : (contentLength ?? 0),
    keepsAlive: !isLast && (minor === 1 || parsed.keepAlive),
  };
}

/** `/…`, `*` or a whole URL, of visible ASCII. */
function isTarget(target: string): boolean {
  for (let at = 0; at < target.length; at += 1) {
    const code = target.charCodeAt(at);
    if (code <= 0x20 || code >= 0x7f) return false;
  }
  return target.startsWith('/') || target === '*' || /^https?:\/\/[^/]/i.test(target);
}

function minorOf(version: string): 0 | 1 {
  if (version === 'HTTP/1.1') return 1;
  if (version === 'HTTP/1.0') return 0;
  const known = /^HTTP\/\d\.\d$/.test(version);
  throw malformed('the version is not HTTP/1.1 or HTTP/1.0', known ? 505 : 400);
}
