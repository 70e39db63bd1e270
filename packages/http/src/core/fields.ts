import { malformed } from './malformed.ts';

/** Header fields by their names in lower case. Several of one name are joined with `, `. */
export type Fields = Readonly<Record<string, string | undefined>>;

const isTokenByte = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  isTokenByte[char.charCodeAt(0)] = 1;
}

/** RFC 9110, 5.6.2: what methods and names of fields are made of. */
function isToken(text: string, start = 0, end = text.length): boolean {
  for (let at = start; at < end; at += 1) {
    if (isTokenByte[text.charCodeAt(at)] !== 1) return false;
  }
  return end > start;
}

/** How a message's body is delimited, as its fields tell. */
interface Framing {
  /** null: no `Content-Length`. */
  readonly contentLength: number | null;
  readonly chunked: boolean;
  /** `Connection` has the option. */
  readonly close: boolean;
  readonly keepAlive: boolean;
  readonly upgrade: boolean;
}

export interface ParsedFields extends Framing {
  readonly fields: Fields;
}

/** Fields that say how to read the message, or whom it is for: two of them could be read in two ways. */
const isSingle = new Set(['content-length', 'transfer-encoding', 'host']);

/** Reads the lines of `text` from `start` on, each of which ends in CR LF. Throws `MALFORMED`. */
export function parseFields(text: string, start: number): ParsedFields {
  const fields = Object.create(null) as Record<string, string>;
  let at = start;
  while (at < text.length) {
    const lineEnd = text.indexOf('\r\n', at);
    const colon = text.indexOf(':', at);
    if (colon < 0 || colon > lineEnd || !isToken(text, at, colon)) {
      throw malformed('a header line does not begin with a name and a colon');
    }
    const name = text.slice(at, colon).toLowerCase();
    const value = trimmed(text, colon + 1, lineEnd);
    if (isSingle.has(name) && text.slice(colon, lineEnd).includes('\t')) {
      throw malformed(`there is a tab in ${name}`);
    }
    const before = fields[name];
    if (before === undefined) fields[name] = value;
    else if (isSingle.has(name)) throw malformed(`there is more than one ${name}`);
    else fields[name] = `${before}, ${value}`;
    at = lineEnd + 2;
  }
  const connection = fields['connection'];
  return {
    fields,
    contentLength: contentLengthOf(fields),
    chunked: chunkedOf(fields),
    close: connection !== undefined && hasOption(connection, 'close'),
    keepAlive: connection !== undefined && hasOption(connection, 'keep-alive'),
    upgrade: connection !== undefined && hasOption(connection, 'upgrade'),
  };
}

function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function contentLengthOf(fields: Fields): number | null {
  const given = fields['content-length'];
  if (given === undefined) return null;
  // 15 digits are exact as a number.
  if (!/^\d{1,15}$/.test(given)) throw malformed('content-length is not a number of bytes');
  if (fields['transfer-encoding'] !== undefined) {
    throw malformed('there are both content-length and transfer-encoding');
  }
  return Number(given);
}

function chunkedOf(fields: Fields): boolean {
  const given = fields['transfer-encoding'];
  if (given === undefined) return false;
  if (given.toLowerCase() === 'chunked') return true;
  // RFC 9112, 6.1: of codings that are not known the client may learn so, if chunked ends them.
  const isFramed = /^[a-z]+, ?chunked$/i.test(given) && !/^chunked/i.test(given);
  throw malformed('transfer-encoding is not "chunked"', isFramed ? 501 : 400);
}

function hasOption(connection: string, option: string): boolean {
  if (connection.length === option.length) return connection.toLowerCase() === option;
  return connection
    .toLowerCase()
    .split(',')
    .some((one) => one.trim() === option);
}
