import type { Socket } from 'node:net';
import { type Clock, Fault, type Logger, receiveInto, type Scheduled } from '@tsukimi/base';
import {
  ByteReader,
  type ByteWriter,
  decodeArgs,
  encodeMessage,
  type RequestFrame,
  RequestParser,
  RpcError,
  writeErrorResponse,
  writeResponse,
} from '@tsukimi/wire';
import type { Answer, PeerReleases, RequestLayout } from './peer-releases.ts';
import type { AnswerGate, Peer, RpcServerLimits } from './server.ts';
import { Speaker } from './speaker.ts';

/** Answers are handed to the socket in pieces of about this size, or when there are no more. */
const flushByteCount = 256 * 1_024;

export interface ServerConnectionOptions {
  readonly peer: Peer;
  readonly limits: RpcServerLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly releases: PeerReleases<any>;
  /** What to say of calls that there are and that we do not serve, by function id. */
  readonly refusals: ReadonlyMap<number, string> | undefined;
  readonly handlers: Readonly<Record<string, (args: unknown, peer: Peer) => unknown>>;
  /** Shared by all connections of a server; empty between turns of the event loop. */
  readonly out: ByteWriter;
  /** Where requests are received, shared likewise. */
  readonly memory: Buffer;
  /** Counts what half requests hold, over all connections of a server. */
  readonly unfinished: { byteCount: number };
  readonly gate: AnswerGate | null;
  readonly onAppendix: ((bytes: Buffer, peer: Peer) => void) | undefined;
  readonly onClose: () => void;
}

/** A request whose answer must wait for its own handler, or for those of requests before it. */
interface Unanswered {
  /** Null until there is something to answer. */
  write: (() => void) | null;
}

/**
 * One client: reads requests, runs handlers, writes answers in the order of the requests, and keeps
 * to the limits. Reading stops while too many answers are unread or unfinished.
 */
export class ServerConnection {
  readonly #socket: Socket;
  readonly #options: ServerConnectionOptions;
  readonly #parser: RequestParser;
  readonly #speaker: Speaker;
  readonly #unanswered: Unanswered[] = [];
  #frames: RequestFrame[] = [];
  #frameIndex = 0;
  #unfinishedByteCount = 0;
  #requestLimit: Scheduled | null = null;
  #unreadLimit: Scheduled | null = null;
  #isFinishing = false;
  /** Whether the gate holds answers back, which the socket keeps meanwhile. */
  #isHeld = false;

  constructor(accepted: Socket, options: ServerConnectionOptions) {
    const { memory } = options;
    const socket = receiveInto(accepted, {
      next: () => memory,
      received: (byteCount, chunk) => this.#read(chunk.subarray(0, byteCount)),
    });
    this.#socket = socket;
    this.#options = options;
    this.#parser = new RequestParser(options.limits.frameByteCountMax);
    this.#speaker = new Speaker(options.releases, options.peer.address);
    socket.on('drain', () => {
      this.#unreadLimit?.cancel();
      this.#unreadLimit = null;
      this.#work();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#requestLimit?.cancel();
      this.#unreadLimit?.cancel();
      this.#countUnfinished(0);
      this.#speaker.leave();
      options.onClose();
    });
  }

  /** The release that the peer speaks; null as long as it has not shown it. */
  get release(): string | null {
    return this.#speaker.release;
  }

  /** Closes once everything that was read has been answered. */
  finish(): void {
    this.#isFinishing = true;
    this.#work();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    if (this.#isFinishing) return;
    let frames: RequestFrame[];
    try {
      frames = this.#parser.push(chunk);
    } catch (error) {
      this.#refuse((error as Error).message);
      return;
    }
    this.#countUnfinished(this.#parser.pendingByteCount);
    if (this.#options.unfinished.byteCount > this.#options.limits.unfinishedByteCountMax) {
      this.#refuse('half requests of all clients take too much memory');
      return;
    }
    this.#enqueue(frames);
    this.#work();
    this.#keepUnserved();
    this.#watchRequest(frames.length > 0);
  }

  /** A paused socket may still deliver a chunk that was on its way. */
  #enqueue(frames: RequestFrame[]): void {
    if (this.#frameIndex === this.#frames.length) {
      this.#frames = frames;
      this.#frameIndex = 0;
    } else this.#frames.push(...frames);
  }

  /** What must wait lies in memory that the next read fills anew. */
  #keepUnserved(): void {
    if (this.#frameIndex === this.#frames.length) return;
    const unserved = this.#frames.slice(this.#frameIndex);
    this.#frames = unserved.map((frame) => ({ ...frame, body: Buffer.from(frame.body) }));
    this.#frameIndex = 0;
  }

  /** Goes on as far as the limits allow; called whenever something changed. */
  #work(): void {
    if (this.#socket.destroyed) return;
    const { out } = this.#options;
    // Whatever a bug may have left there must not reach this client.
    out.position = 0;
    this.#writeSettled();
    while (!this.#isHeldBack && this.#frameIndex < this.#frames.length) {
      this.#serve(this.#frames[this.#frameIndex++] as RequestFrame);
      if (out.position >= flushByteCount) this.#flush();
    }
    this.#flush();
    if (this.#isHeldBack) this.#socket.pause();
    else if (this.#socket.isPaused()) {
      this.#socket.resume();
      this.#watchRequest(true);
    }
    const isDone = this.#frameIndex === this.#frames.length && this.#unanswered.length === 0;
    if (this.#isFinishing && isDone && !this.#isHeld)
      this.#socket.end(() => this.#socket.destroy());
  }

  get #isHeldBack(): boolean {
    const { runningCountMax, unreadByteCountMax } = this.#options.limits;
    return (
      this.#unanswered.length >= runningCountMax ||
      this.#socket.writableLength >= unreadByteCountMax
    );
  }

  #serve({ sequence, functionId, body }: RequestFrame): void {
    const { releases, handlers, peer, onAppendix } = this.#options;
    const layouts = releases.layoutsById.get(functionId);
    if (layouts === undefined) {
      this.#answer(() => this.#writeUnknown(sequence, functionId));
      return;
    }
    const layout = layouts.length === 1 ? layouts[0] : layoutFor(body, layouts);
    if (layout === undefined) {
      this.#answer(() => this.#writeError(sequence, RpcError.INVALID_ARGUMENTS));
      return;
    }
    let args: readonly unknown[];
    try {
      const source = new ByteReader(body);
      args = decodeArgs(layout.method, source);
      if (source.remaining > 0) onAppendix?.(source.raw(source.remaining), peer);
    } catch {
      this.#answer(() => this.#writeError(sequence, RpcError.INVALID_ARGUMENTS));
      return;
    }
    const answer = this.#speaker.hear(layout, args);
    try {
      const result = handlers[layout.name]?.(args, peer);
      if (result instanceof Promise) this.#answerLater(sequence, answer, result);
      else this.#answer(() => this.#writeResult(sequence, answer, result));
    } catch (error) {
      this.#answer(() => this.#writeThrown(sequence, answer, error));
    }
  }

  #answer(write: () => void): void {
    if (this.#unanswered.length === 0) write();
    else this.#unanswered.push({ write });
  }

  #answerLater(sequence: number, answer: Answer, result: Promise<unknown>): void {
    const entry: Unanswered = { write: null };
    this.#unanswered.push(entry);
    result
      .then(
        (value) => {
          entry.write = () => this.#writeResult(sequence, answer, value);
        },
        (error: unknown) => {
          entry.write = () => this.#writeThrown(sequence, answer, error);
        },
      )
      // Only the oldest opens the way for others.
      .finally(() => this.#unanswered[0] === entry && this.#work());
  }

  #writeSettled(): void {
    let count = 0;
    for (const { write } of this.#unanswered) {
      if (write === null) break;
      write();
      count += 1;
      if (this.#options.out.position >= flushByteCount) this.#flush();
    }
    this.#unanswered.splice(0, count);
  }

  #writeResult(sequence: number, answer: Answer, value: unknown): void {
    const { out } = this.#options;
    const start = out.position;
    try {
      writeResponse(out, sequence, RpcError.NONE, () => encodeMessage(out, answer.response, value));
    } catch (error) {
      out.position = start;
      this.#writeThrown(sequence, answer, error);
    }
  }

  #writeThrown(sequence: number, { name }: Answer, error: unknown): void {
    const { out, logger } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    // An expected failure is the caller's to report; anything else is a bug of ours.
    if (!(error instanceof Fault)) logger.error('rpc.handler-failed', { name, reason });
    writeErrorResponse(out, sequence, RpcError.THROWN, reason);
  }

  #writeError(sequence: number, error: keyof typeof errorMessages): void {
    writeErrorResponse(this.#options.out, sequence, error, errorMessages[error]);
  }

  #writeUnknown(sequence: number, functionId: number): void {
    const refusal = this.#options.refusals?.get(functionId);
    if (refusal === undefined) this.#writeError(sequence, RpcError.NOT_REGISTERED);
    else writeErrorResponse(this.#options.out, sequence, RpcError.THROWN, refusal);
  }

  #flush(): void {
    const { out, clock, limits, gate } = this.#options;
    if (out.position === 0) return;
    const bytes = out.take();
    if (this.#socket.destroyed) return;
    if (!this.#isHeld && gate?.holdBack(() => this.#release()) === true) {
      this.#isHeld = true;
      this.#socket.cork();
    }
    this.#socket.write(bytes);
    if (this.#socket.writableLength < limits.unreadByteCountMax) return;
    this.#unreadLimit ??= clock.schedule(limits.unreadWithinMs, () =>
      this.#refuse('answers were not read in time'),
    );
  }

  #release(): void {
    this.#isHeld = false;
    this.#socket.uncork();
    if (this.#isFinishing) this.#work();
  }

  /** Gives a request that has begun a time to be complete; while we do not read, it has all the time. */
  #watchRequest(isFresh: boolean): void {
    const { clock, limits } = this.#options;
    const isWaiting = this.#parser.pendingByteCount > 0 && !this.#socket.isPaused();
    if (isFresh || !isWaiting) {
      this.#requestLimit?.cancel();
      this.#requestLimit = null;
    }
    if (!isWaiting || this.#socket.destroyed) return;
    this.#requestLimit ??= clock.schedule(limits.requestWithinMs, () =>
      this.#refuse('a request was not complete in time'),
    );
  }

  #countUnfinished(byteCount: number): void {
    this.#options.unfinished.byteCount += byteCount - this.#unfinishedByteCount;
    this.#unfinishedByteCount = byteCount;
  }

  #refuse(reason: string): void {
    const { logger, peer } = this.#options;
    logger.warn('rpc.connection-refused', { peer: peer.address, reason });
    this.#socket.destroy();
  }
}

/** The layout that a request announces by its type code; bit 0 says only what follows the code. */
function layoutFor(body: Buffer, layouts: readonly RequestLayout[]): RequestLayout | undefined {
  if (body.length < 4) return undefined;
  const code = body.readUInt32LE(0) >>> 1;
  for (const layout of layouts) {
    if ((layout.method.request?.code ?? 0) >>> 1 === code) return layout;
  }
  return undefined;
}

/** Word for word those of the original. */
const errorMessages = {
  [RpcError.INVALID_ARGUMENTS]: 'invalid rpc arg',
  [RpcError.NOT_REGISTERED]: 'the rpc function not registered',
} as const;
