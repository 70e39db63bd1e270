import { type Clock, Fault, type Scheduled } from '@tsukimi/base';
import type { ClientListener } from '@tsukimi/http';
import type { Leg } from './core/attempt.ts';
import type { Holding } from './core/held-memory.ts';
import type { FailureReason, PoolInstance } from './core/pool-instance.ts';
import { limits } from './deadlines.ts';
import type { UpstreamCall, UpstreamHeaders } from './upstream.ts';

/** What becomes of a leg; nothing is told after `close`. */
export interface LegListener {
  onLegHead(leg: LegCall): void;
  /** Of an answer that streams. */
  onLegBytes(leg: LegCall, bytes: Buffer): void;
  /** The answer is whole, or the connection ended an answer that streams. */
  onLegEnd(leg: LegCall): void;
  /** There is no room for the answer, as `fault` says. It ends all the same, and then has no body. */
  onLegUnheld(leg: LegCall, fault: Fault): void;
  onLegFailure(leg: LegCall, reason: FailureReason, message: string): void;
}

/** An answer that is there as a whole. */
export type WholeAnswer = Pick<LegCall, 'status' | 'headers' | 'contentType' | 'body'>;

const noHeaders: UpstreamHeaders = {};
const noMemory = 'answers to requests in progress fill the memory set aside for them';
const tooLarge = `the answer has more than ${limits.answerByteCountMax} bytes; ask for less at once, or for a stream`;

/** One call to one instance and its answer, which is kept until it is whole or passed on as it comes. */
export class LegCall implements ClientListener {
  readonly leg: Leg;
  readonly instance: PoolInstance;
  readonly startMs: number;
  status = 0;
  headers: UpstreamHeaders = noHeaders;
  /** It answers with events that go on as they come. */
  streams = false;
  /** There was no room for its answer, which has no body then. */
  unheld = false;
  readonly #holding: Holding;
  readonly #listener: LegListener;
  #pieces: Buffer[] | null = null;
  #byteCount = 0;
  #call: UpstreamCall | null = null;
  #linger: Scheduled | null = null;
  #closed = false;

  /** What is kept of the answer is taken from `holding`. */
  constructor(
    leg: Leg,
    instance: PoolInstance,
    startMs: number,
    holding: Holding,
    listener: LegListener,
  ) {
    this.leg = leg;
    this.instance = instance;
    this.startMs = startMs;
    this.#holding = holding;
    this.#listener = listener;
  }

  /** The call may have failed, and the leg been closed, while it was being made. */
  began(call: UpstreamCall): void {
    this.#call = call;
    if (this.#closed) call.abort();
  }

  get body(): Buffer {
    if (this.#pieces === null) return Buffer.alloc(0);
    return this.#pieces.length === 1 ? (this.#pieces[0] as Buffer) : Buffer.concat(this.#pieces);
  }

  get contentType(): string {
    const type = this.headers['content-type'];
    return typeof type === 'string' ? type : '';
  }

  /** Closes the connection, by which the instance learns that nobody waits any more. */
  close(): void {
    this.#closed = true;
    this.#linger?.cancel();
    this.#call?.abort();
  }

  /**
   * All of the answer that matters has come. The last chunk of the connection follows at once; cutting
   * it would waste the connection, so it gets `withinMs` for that.
   */
  ended(clock: Clock, withinMs: number): void {
    this.#closed = true;
    this.#linger = clock.schedule(withinMs, () => this.#call?.abort());
  }

  pause(): void {
    this.#call?.pause();
  }

  resume(): void {
    this.#call?.resume();
  }

  onHead(status: number, headers: UpstreamHeaders): void {
    if (this.#closed) return;
    this.status = status;
    this.headers = headers;
    this.streams =
      this.leg === 'decode' && status === 200 && this.contentType.startsWith('text/event-stream');
    this.#listener.onLegHead(this);
  }

  onData(bytes: Buffer): void {
    if (this.#closed) return;
    if (this.streams) {
      this.#listener.onLegBytes(this, bytes);
      return;
    }
    if (this.unheld) return;
    this.#byteCount += bytes.length;
    if (this.#byteCount > limits.answerByteCountMax) {
      this.#letGo(new Fault('UNSUPPORTED', tooLarge, { details: { status: 502 } }));
    } else if (!this.#holding.take(bytes.length)) this.#letGo(new Fault('OVERLOADED', noMemory));
    else if (this.#pieces === null) this.#pieces = [bytes];
    else this.#pieces.push(bytes);
  }

  /** That of anybody else would find no more room. */
  #letGo(fault: Fault): void {
    this.unheld = true;
    this.#pieces = null;
    this.#listener.onLegUnheld(this, fault);
  }

  onEnd(): void {
    this.#linger?.cancel();
    if (!this.#closed) this.#listener.onLegEnd(this);
  }

  onFailure(reason: FailureReason, message: string): void {
    this.#linger?.cancel();
    if (!this.#closed) this.#listener.onLegFailure(this, reason, message);
  }
}
