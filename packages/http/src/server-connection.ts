import type { Socket } from 'node:net';
import { Fault } from '@tsukimi/base';
import { ChunkedBody } from './core/chunked-body.ts';
import { HeadReader } from './core/head-reader.ts';
import { malformed } from './core/malformed.ts';
import { parseRequestHead } from './core/request-head.ts';
import { unsentByteCount, writeJoined } from './joined-write.ts';
import { ServerRequest } from './server-request.ts';
import { ServerResponse, statusLineOf } from './server-response.ts';

/** How long a connection may take for what, and what it may hold. */
export interface ServerLimits {
  /** From the first byte of a head to its last. */
  readonly headMs: number;
  /** For each `bodyStepByteCount` of a body. */
  readonly bodyMs: number;
  readonly bodyStepByteCount: number;
  /** Between two requests. */
  readonly idleMs: number;
  /** For a client to take any of what was sent to it. */
  readonly stallMs: number;
  /** For a client to learn that its connection is closed, while what it still sends is thrown away. */
  readonly lingerMs: number;
  readonly headByteCountMax: number;
  readonly fieldCountMax: number;
  /** Bytes kept of requests behind the one that is being answered. */
  readonly aheadByteCountMax: number;
}

/** What a connection needs of its server. */
export interface ConnectionHost {
  readonly limits: ServerLimits;
  /** Coarse: the time of the last look at all connections. */
  readonly nowMs: number;
  readonly date: string;
  readonly stopping: boolean;
  handle(request: ServerRequest, response: ServerResponse): void;
  /** The JSON body of an answer to what was no request. */
  refusalBody(fault: Fault): string;
}

/** What is waited for. `answer`: for the one who makes it; that is not our client's fault. */
type Phase = 'idle' | 'head' | 'body' | 'answer' | 'linger';

/**
 * One client's connection: its requests one after the other, each read when the answer before has left.
 * What comes early is kept up to a limit, beyond which the connection is not read.
 */
export class ServerConnection {
  readonly #socket: Socket;
  readonly #host: ConnectionHost;
  readonly #reader: HeadReader;
  /** The request whose body is not here yet. */
  #request: ServerRequest | null = null;
  #response: ServerResponse | null = null;
  /** What is left of a body of known length, or a body in chunks. */
  #body: ChunkedBody | number = 0;
  /** The whole body came with the head, or there is none. */
  #bodyAtHand = true;
  #stepByteCount = 0;
  #expectsContinue = false;
  #ahead: Buffer | null = null;
  #advancing = false;
  #phase: Phase = 'idle';
  #deadlineMs = 0;
  #unsentByteCount = 0;
  #stalledSinceMs = 0;

  constructor(socket: Socket, host: ConnectionHost) {
    this.#socket = socket;
    this.#host = host;
    const { headByteCountMax, fieldCountMax, idleMs } = host.limits;
    this.#reader = new HeadReader({ byteCountMax: headByteCountMax, fieldCountMax });
    this.#await('idle', idleMs);
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    socket.on('drain', () => this.#response?.emit('drain'));
    // A client that closes its side while it is owed an answer is taken for gone.
    socket.on('end', () => {
      if (this.#phase !== 'linger') this.destroy();
    });
    socket.on('error', () => {});
    socket.on('close', () => this.#response?.cut());
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  get date(): string {
    return this.#host.date;
  }

  get mustClose(): boolean {
    return this.#host.stopping || !this.#bodyAtHand;
  }

  get isIdle(): boolean {
    return this.#phase === 'idle';
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Called now and then: ends what has lasted too long. */
  look(nowMs: number): void {
    const unsent = unsentByteCount(this.#socket);
    if (unsent === 0 || unsent !== this.#unsentByteCount) {
      this.#unsentByteCount = unsent;
      this.#stalledSinceMs = nowMs;
    } else if (nowMs - this.#stalledSinceMs >= this.#host.limits.stallMs) this.destroy();
    if (nowMs < this.#deadlineMs) return;
    if (this.#phase === 'head' || this.#phase === 'body') {
      this.#refuse(malformed('the request took too long to arrive', 408));
    } else this.destroy();
  }

  flow(): void {
    if (this.#expectsContinue && this.#response?.headersSent === false) {
      this.#expectsContinue = false;
      this.#socket.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
    }
    if (!this.#advancing) this.#advanceAhead();
  }

  send(head: string, body: Buffer | string, tail: string, isLast: boolean): boolean {
    return writeJoined(this.#socket, head, body, tail, isLast ? this.#onSent : undefined);
  }

  readonly #onSent = (error?: Error | null): void => {
    const response = this.#response;
    if (error || response === null) return;
    this.#response = null;
    response.finished();
    if (response.closesConnection || this.mustClose) {
      if (this.#request === null && this.#ahead === null) this.#socket.destroySoon();
      else this.#linger();
      return;
    }
    // Nobody asked for the body, which is here.
    if (this.#request !== null) this.#request.resume();
    else this.#awaitNext();
    this.#advanceAhead();
  };

  #await(phase: Phase, withinMs: number): void {
    this.#phase = phase;
    this.#deadlineMs = this.#host.nowMs + withinMs;
  }

  /** What comes after the whole request: its answer or, if that has left, another request. */
  #awaitNext(): void {
    if (this.#response === null) this.#await('idle', this.#host.limits.idleMs);
    else this.#await('answer', Number.POSITIVE_INFINITY);
  }

  #receive(bytes: Buffer): void {
    if (this.#phase === 'linger') return;
    if (this.#ahead === null) this.#advance(bytes);
    else this.#keep(Buffer.concat([this.#ahead, bytes]));
  }

  #keep(bytes: Buffer): void {
    this.#ahead = bytes;
    if (bytes.length >= this.#host.limits.aheadByteCountMax) this.#socket.pause();
  }

  #advanceAhead(): void {
    const ahead = this.#ahead;
    if (ahead === null) return;
    this.#ahead = null;
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#advance(ahead);
  }

  #advance(bytes: Buffer): void {
    let at = 0;
    this.#advancing = true;
    try {
      while (at < bytes.length && this.#phase !== 'linger') {
        if (this.#request?.flowing) at = this.#readBody(this.#request, bytes, at);
        else if (this.#request === null && this.#response === null) at = this.#readHead(bytes, at);
        else {
          this.#keep(bytes.subarray(at));
          break;
        }
      }
    } catch (error) {
      if (!Fault.has(error, 'MALFORMED')) throw error;
      this.#refuse(error);
    } finally {
      this.#advancing = false;
    }
  }

  #readHead(bytes: Buffer, at: number): number {
    const { limits } = this.#host;
    if (!this.#reader.begun) this.#await('head', limits.headMs);
    const end = this.#reader.read(bytes, at);
    if (end < 0) return bytes.length;
    const head = parseRequestHead(this.#reader.take());
    const expectation = head.headers['expect'];
    if (expectation !== undefined && expectation.toLowerCase() !== '100-continue') {
      throw malformed('nothing but 100-continue can be expected', 417);
    }
    const request = new ServerRequest(head, this);
    const response = new ServerResponse(head, this);
    this.#response = response;
    if (head.bodyByteCount === 0) {
      this.#awaitNext();
      this.#host.handle(request, response);
      request.finish();
      return end;
    }
    this.#request = request;
    this.#body = head.bodyByteCount ?? new ChunkedBody();
    this.#bodyAtHand = head.bodyByteCount !== null && head.bodyByteCount <= bytes.length - end;
    this.#stepByteCount = 0;
    this.#expectsContinue = expectation !== undefined && head.minor === 1;
    this.#await('body', limits.bodyMs);
    this.#host.handle(request, response);
    return end;
  }

  #readBody(request: ServerRequest, bytes: Buffer, at: number): number {
    let end: number;
    let piece: Buffer | null;
    if (typeof this.#body === 'number') {
      end = Math.min(bytes.length, at + this.#body);
      this.#body -= end - at;
      piece = bytes.subarray(at, end);
    } else {
      end = this.#body.read(bytes, at);
      piece = this.#body.data(bytes);
    }
    const { bodyMs, bodyStepByteCount } = this.#host.limits;
    this.#stepByteCount += piece?.length ?? 0;
    if (this.#stepByteCount >= bodyStepByteCount) {
      this.#stepByteCount = 0;
      this.#await('body', bodyMs);
    }
    const isWhole = typeof this.#body === 'number' ? this.#body === 0 : this.#body.ended;
    if (isWhole) {
      this.#request = null;
      this.#bodyAtHand = true;
      this.#awaitNext();
    }
    if (piece !== null) request.push(piece);
    if (isWhole) request.finish();
    return end;
  }

  /** Answers what is no request, or only the beginning of one, and closes. */
  #refuse(fault: Fault): void {
    const response = this.#response;
    if (response?.headersSent) {
      this.destroy();
      return;
    }
    const status = Number(fault.details['status']);
    const body = this.#host.refusalBody(fault);
    const head =
      `${statusLineOf(status)}content-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\ndate: ${this.#host.date}\r\nconnection: close\r\n\r\n`;
    this.#socket.write(head + body);
    this.#linger();
    if (response === null) return;
    response.statusCode = status;
    response.cut();
  }

  /** Closing at once would reset a connection on which more is coming, and the answer could be lost. */
  #linger(): void {
    this.#response = null;
    this.#request = null;
    this.#ahead = null;
    this.#await('linger', this.#host.limits.lingerMs);
    this.#socket.end();
    this.#socket.resume();
  }
}
