import { EventEmitter } from 'node:events';
import { STATUS_CODES } from 'node:http';
import type { RequestHead } from './core/request-head.ts';

type HeaderValue = string | number;

/** What a response needs of its connection. */
export interface ResponseSink {
  /** For the `date` field. */
  readonly date: string;
  /** This response must be the connection's last. */
  readonly mustClose: boolean;
  /** Passes on the bytes, or nothing but the question for more; false: wait for `drain`. */
  send(head: string, body: Buffer | string, tail: string, isLast: boolean): boolean;
  destroy(): void;
}

/** In what way the body's end is told. */
type Delimiting = 'length' | 'chunks' | 'close' | 'no-body';

const statusLines = new Map<number, string>();
const forbiddenInValue = /[^\t\x20-\x7e\x80-\xff]/;

export function statusLineOf(status: number): string {
  let line = statusLines.get(status);
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`;
    statusLines.set(status, line);
  }
  return line;
}

/**
 * An answer: the few members of Node's `ServerResponse` that a relay needs, with the same meanings. The
 * head leaves with the first piece of the body, in one write. `close` comes last, always, and never
 * within a call; `writableFinished` then tells whether all of the answer was handed to the system.
 */
export class ServerResponse extends EventEmitter<{ close: []; drain: []; finish: [] }> {
  statusCode = 200;
  headersSent = false;
  writableEnded = false;
  writableFinished = false;
  destroyed = false;
  readonly #sink: ResponseSink;
  readonly #request: RequestHead;
  #headers: Map<string, HeaderValue> | null = null;
  /** The head, until it is sent. */
  #head: string | null = null;
  #delimiting: Delimiting = 'chunks';
  #closes = false;
  #closed = false;

  constructor(request: RequestHead, sink: ResponseSink) {
    super();
    this.#request = request;
    this.#sink = sink;
  }

  /** The connection ends with this response. */
  get closesConnection(): boolean {
    return this.#closes;
  }

  setHeader(name: string, value: HeaderValue): this {
    this.#headers ??= new Map();
    this.#headers.set(name.toLowerCase(), value);
    return this;
  }

  getHeader(name: string): HeaderValue | undefined {
    return this.#headers?.get(name.toLowerCase());
  }

  writeHead(status: number, headers: Readonly<Record<string, HeaderValue>> = {}): this {
    if (this.headersSent) throw new Error('the head has been written');
    for (const name in headers) this.setHeader(name, headers[name] as HeaderValue);
    this.statusCode = status;
    this.headersSent = true;
    return this;
  }

  /** False: nothing more should be written before `drain`. */
  write(piece: Buffer | string, encoding: 'utf8' | 'latin1' = 'utf8'): boolean {
    if (this.destroyed || this.writableEnded) return false;
    const head = this.#takeHead(null);
    const bytes = bytesOf(piece, encoding);
    if (bytes.length === 0 || this.#delimiting === 'no-body') {
      return head === '' || this.#sink.send(head, '', '', false);
    }
    if (this.#delimiting !== 'chunks') return this.#sink.send(head, bytes, '', false);
    return this.#sink.send(`${head}${bytes.length.toString(16)}\r\n`, bytes, '\r\n', false);
  }

  end(piece: Buffer | string = '', encoding: 'utf8' | 'latin1' = 'utf8'): void {
    if (this.destroyed || this.writableEnded) return;
    this.writableEnded = true;
    const bytes = bytesOf(piece, encoding);
    const head = this.#takeHead(bytes.length);
    if (this.#delimiting === 'no-body') this.#sink.send(head, '', '', true);
    else if (this.#delimiting !== 'chunks') this.#sink.send(head, bytes, '', true);
    else if (bytes.length === 0) this.#sink.send(head, '', '0\r\n\r\n', true);
    else {
      const size = bytes.length.toString(16);
      this.#sink.send(`${head}${size}\r\n`, bytes, '\r\n0\r\n\r\n', true);
    }
  }

  /** Cuts the connection. */
  destroy(): this {
    if (this.destroyed) return this;
    this.destroyed = true;
    this.#sink.destroy();
    return this;
  }

  /** For the connection only. */
  finished(): void {
    this.writableFinished = true;
    this.emit('finish');
    this.#close();
  }

  /** For the connection only. */
  cut(): void {
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.destroyed = true;
    this.emit('close');
  }

  /** `wholeByteCount` of a body that is sent at once. Empty when the head is on its way. */
  #takeHead(wholeByteCount: number | null): string {
    if (this.#head === '') return '';
    if (!this.headersSent) this.writeHead(this.statusCode);
    const head = this.#compose(wholeByteCount);
    this.#head = '';
    return head;
  }

  #compose(wholeByteCount: number | null): string {
    const { minor, method, keepsAlive } = this.#request;
    const status = this.statusCode;
    let head = statusLineOf(status);
    let hasLength = false;
    this.#closes = !keepsAlive || this.#sink.mustClose;
    if (this.#headers !== null) {
      for (const [name, value] of this.#headers) {
        if (typeof value === 'string' && forbiddenInValue.test(value)) {
          throw new TypeError(`the header ${name} holds what no header may hold`);
        }
        if (name === 'content-length') hasLength = true;
        else if (name === 'connection') {
          this.#closes ||= value === 'close';
          continue;
        }
        head += `${name}: ${value}\r\n`;
      }
    }
    const hasBody = status >= 200 && status !== 204 && status !== 304;
    if (!hasBody || method === 'HEAD') this.#delimiting = 'no-body';
    else if (hasLength) this.#delimiting = 'length';
    else if (wholeByteCount !== null) {
      this.#delimiting = 'length';
      head += `content-length: ${wholeByteCount}\r\n`;
    } else if (minor === 1) head += 'transfer-encoding: chunked\r\n';
    else {
      this.#delimiting = 'close';
      this.#closes = true;
    }
    head += `date: ${this.#sink.date}\r\n`;
    if (this.#closes) return `${head}connection: close\r\n\r\n`;
    return minor === 1 ? `${head}\r\n` : `${head}connection: keep-alive\r\n\r\n`;
  }
}

/** Text stays text where each of its characters is a byte. */
function bytesOf(piece: Buffer | string, encoding: 'utf8' | 'latin1'): Buffer | string {
  if (typeof piece !== 'string' || encoding === 'latin1') return piece;
  return Buffer.byteLength(piece) === piece.length ? piece : Buffer.from(piece);
}
