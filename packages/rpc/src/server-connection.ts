import type { Socket } from 'node:net';
import { type Clock, Fault, type Logger, type Scheduled } from '@tsukimi/base';
import {
  ByteWriter,
  decodeArgs,
  encodeMessage,
  type Protocol,
  type RequestFrame,
  RequestParser,
  RpcError,
  writeErrorResponse,
  writeResponse,
} from '@tsukimi/wire';
import type { Peer, RpcServerLimits } from './server.ts';

type Method = Protocol[string];

export interface ServerConnectionOptions {
  readonly peer: Peer;
  readonly limits: RpcServerLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly methodById: ReadonlyMap<number, { readonly method: Method; readonly name: string }>;
  readonly handlers: Readonly<Record<string, (args: unknown, peer: Peer) => unknown>>;
  readonly onClose: () => void;
}

/** One client: reads requests, runs handlers, writes answers, and keeps to the limits. */
export class ServerConnection {
  readonly #socket: Socket;
  readonly #options: ServerConnectionOptions;
  readonly #parser: RequestParser;
  readonly #out = new ByteWriter();
  #runningCount = 0;
  #isBlocked = false;
  #frameLimit: Scheduled | null = null;
  #isFinishing = false;

  constructor(socket: Socket, options: ServerConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#parser = new RequestParser(options.limits.frameByteCountMax);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => {
      this.#isBlocked = false;
      this.#resume();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#frameLimit?.cancel();
      options.onClose();
    });
  }

  /** Closes once everything that was asked has been answered. */
  finish(): void {
    this.#isFinishing = true;
    if (this.#runningCount === 0) this.#socket.end(() => this.#socket.destroy());
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let frames: RequestFrame[];
    try {
      frames = this.#parser.push(chunk);
    } catch (error) {
      this.#refuse((error as Error).message);
      return;
    }
    for (const frame of frames) this.#serve(frame);
    this.#flush();
    this.#watchFrame(frames.length > 0);
    if (this.#runningCount >= this.#options.limits.runningCountMax) this.#socket.pause();
  }

  #serve({ sequence, functionId, body }: RequestFrame): void {
    const { methodById, handlers, peer } = this.#options;
    const called = methodById.get(functionId);
    if (called === undefined) {
      const message = 'the rpc function not registered';
      writeErrorResponse(this.#out, sequence, RpcError.NOT_REGISTERED, message);
      return;
    }
    const { method, name } = called;
    let args: unknown;
    try {
      args = decodeArgs(method, body);
    } catch {
      writeErrorResponse(this.#out, sequence, RpcError.INVALID_ARGUMENTS, 'invalid rpc arg');
      return;
    }
    try {
      const result = handlers[name]?.(args, peer);
      if (result instanceof Promise) this.#serveLater(sequence, name, method, result);
      else this.#answer(sequence, method, result);
    } catch (error) {
      this.#answerThrown(sequence, name, error);
    }
  }

  #serveLater(sequence: number, name: string, method: Method, result: Promise<unknown>): void {
    this.#runningCount += 1;
    result
      .then(
        (value) => this.#answer(sequence, method, value),
        (error: unknown) => this.#answerThrown(sequence, name, error),
      )
      .finally(() => {
        this.#runningCount -= 1;
        this.#flush();
        this.#resume();
        if (this.#isFinishing && this.#runningCount === 0) this.finish();
      });
  }

  #answer(sequence: number, method: Method, value: unknown): void {
    const start = this.#out.position;
    try {
      writeResponse(this.#out, sequence, RpcError.NONE, () =>
        encodeMessage(this.#out, method.response, value),
      );
    } catch (error) {
      this.#out.position = start;
      throw error;
    }
  }

  #answerThrown(sequence: number, name: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    // An expected failure is the caller's to report; anything else is a bug of ours.
    if (!(error instanceof Fault))
      this.#options.logger.error('rpc.handler-failed', { name, reason });
    writeErrorResponse(this.#out, sequence, RpcError.THROWN, reason);
  }

  #flush(): void {
    if (this.#out.position === 0 || this.#socket.destroyed) return;
    if (!this.#socket.write(this.#out.take())) {
      // Whoever does not read our answers is not asked for more questions.
      this.#isBlocked = true;
      this.#socket.pause();
    }
  }

  #resume(): void {
    const { runningCountMax } = this.#options.limits;
    if (!this.#isBlocked && this.#runningCount < runningCountMax) this.#socket.resume();
  }

  /** Gives a request that has begun a time to be complete; each finished one starts it anew. */
  #watchFrame(hasProgressed: boolean): void {
    const { clock, limits } = this.#options;
    if (hasProgressed || this.#parser.pendingByteCount === 0) {
      this.#frameLimit?.cancel();
      this.#frameLimit = null;
    }
    if (this.#parser.pendingByteCount > 0 && this.#frameLimit === null) {
      this.#frameLimit = clock.schedule(limits.frameWithinMs, () =>
        this.#refuse('a request was not complete in time'),
      );
    }
  }

  #refuse(reason: string): void {
    this.#options.logger.warn('rpc.connection-refused', {
      peer: this.#options.peer.address,
      reason,
    });
    this.#socket.destroy();
  }
}
