import { setMaxListeners } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type Address, type CancelSignal, type Clock, Fault, onreadOf } from '@tsukimi/base';
import {
  ByteReader,
  ByteWriter,
  decodeMessage,
  encodeArgs,
  malformed,
  type Protocol,
  type ResponseFrame,
  ResponseParser,
  readError,
  writeRequest,
} from '@tsukimi/wire';

/** Requests that the socket has not taken yet; beyond it the server is not reading. */
const unsentByteCountMax = 64 * 2 ** 20;
/** Of one read. */
const receivedByteCountMax = 2 ** 16;

export interface ClientConnectionOptions {
  readonly clock: Clock;
  readonly callCountMax: number;
  readonly frameByteCountMax: number;
  readonly silenceMaxMs: number;
}

export interface ConnectionCall {
  readonly name: string;
  readonly method: Protocol[string];
  readonly args: unknown;
  /** What the caller asked for, for words; the end itself is `endsAtMs` on the clock. Null where `signal` fires in time. */
  readonly timeoutMs: number | null;
  readonly endsAtMs: number | null;
  readonly signal: CancelSignal | undefined;
  /** Bytes behind the arguments. */
  readonly appendix: Buffer | undefined;
}

interface Waiting {
  readonly method: Protocol[string];
  settle(error: unknown, value?: unknown): void;
}

/** The connection ended under a call. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
  /** The connection had served before and was idle, and nothing came back since: it was closed before the call. */
  readonly mayRepeat: boolean;

  constructor(message: string, mayRepeat: boolean) {
    super(message);
    this.mayRepeat = mayRepeat;
  }
}

/** One socket to a server, with any number of calls under way on it. */
export class ClientConnection {
  readonly #socket: Socket;
  readonly #options: ClientConnectionOptions;
  readonly #parser: ResponseParser;
  readonly #out = new ByteWriter();
  readonly #waiting = new Map<number, Waiting>();
  /** Calls that nobody waits for any more and whose answers are still to come. */
  readonly #givenUp = new Set<number>();
  #sequence = 0;
  #isFlushScheduled = false;
  #hasServed = false;
  #isUnheardSinceIdle = false;
  #silentSinceMs: number | null = null;

  /** Rejects with the socket's error or the reason of `signal`. */
  static open(
    { host, port }: Address,
    signal: AbortSignal,
    options: ClientConnectionOptions,
  ): Promise<ClientConnection> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      let connection: ClientConnection | null = null;
      const memory = Buffer.allocUnsafeSlow(receivedByteCountMax);
      const onread = onreadOf({
        next: () => memory,
        received: (byteCount) => {
          if (connection !== null) connection.#read(memory.subarray(0, byteCount));
        },
      });
      const socket = connect({ host, port, noDelay: true, onread });
      const abort = () => {
        socket.destroy();
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', abort, { once: true });
      socket.once('error', (error) => {
        signal.removeEventListener('abort', abort);
        reject(error);
      });
      socket.once('connect', () => {
        signal.removeEventListener('abort', abort);
        socket.removeAllListeners('error');
        connection = new ClientConnection(socket, options);
        resolve(connection);
      });
    });
  }

  private constructor(socket: Socket, options: ClientConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#parser = new ResponseParser(options.frameByteCountMax);
    socket.on('error', (error) => this.#lose(error.message));
    socket.on('close', () => this.#lose('the connection was closed'));
    // The other side may close only the half that sends; calls on it would wait for nothing.
    socket.on('end', () => this.#lose('the connection was closed'));
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  call(call: ConnectionCall): Promise<unknown> {
    const { signal, method, appendix } = call;
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (!this.isOpen) return Promise.reject(new ConnectionLost('the connection was closed', true));
    const owedCount = this.#waiting.size + this.#givenUp.size;
    if (
      owedCount >= this.#options.callCountMax ||
      this.#socket.writableLength > unsentByteCountMax
    ) {
      const message = `${owedCount} calls wait for an answer already`;
      return Promise.reject(new Fault('OVERLOADED', message));
    }
    const sequence = this.#sequence;
    const start = this.#out.position;
    try {
      writeRequest(this.#out, sequence, method.functionId, () => {
        encodeArgs(this.#out, method, call.args as never);
        // A call without arguments has an empty body, which must stay empty.
        if (appendix !== undefined && method.request !== null) this.#out.raw(appendix);
      });
    } catch (error) {
      this.#out.position = start;
      return Promise.reject(error as Error);
    }
    this.#sequence = (sequence + 1) >>> 0;
    if (owedCount === 0) this.#isUnheardSinceIdle = true;
    this.#silentSinceMs ??= this.#options.clock.monotonicMs();
    this.#scheduleFlush();
    return this.#answer(sequence, call);
  }

  close(reason: Error): void {
    this.#socket.destroy();
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const call of waiting) call.settle(reason);
  }

  #answer(sequence: number, call: ConnectionCall): Promise<unknown> {
    const { clock } = this.#options;
    const { name, method, timeoutMs, endsAtMs, signal } = call;
    return new Promise((resolve, reject) => {
      const giveUp = (reason: unknown) => {
        this.#waiting.delete(sequence);
        this.#givenUp.add(sequence);
        settle(reason);
      };
      const abort = () => {
        giveUp(signal?.reason);
        // Many callers bring their deadline as a signal, which fires before our own.
        if (Fault.has(signal?.reason, 'DEADLINE_PASSED')) this.#closeIfSilent();
      };
      const pass = () => {
        giveUp(new Fault('DEADLINE_PASSED', `call of ${name} took longer than ${timeoutMs} ms`));
        this.#closeIfSilent();
      };
      const limit = endsAtMs === null ? null : clock.schedule(endsAtMs - clock.monotonicMs(), pass);
      const settle = (error: unknown, value?: unknown) => {
        limit?.cancel();
        signal?.removeEventListener('abort', abort);
        if (error === null) resolve(value);
        else reject(error as Error);
      };
      if (signal !== undefined) {
        // A caller's signal may be followed by many calls at once, all of which leave it when they end.
        if (signal instanceof AbortSignal) setMaxListeners(0, signal);
        signal.addEventListener('abort', abort, { once: true });
      }
      this.#waiting.set(sequence, { method, settle });
    });
  }

  /** Calls made in one turn of the event loop leave in one write: a tick comes after all promises. */
  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    process.nextTick(() => {
      this.#isFlushScheduled = false;
      if (this.isOpen) this.#socket.write(this.#out.take());
    });
  }

  #read(chunk: Buffer): void {
    this.#isUnheardSinceIdle = false;
    try {
      for (const frame of this.#parser.push(chunk)) this.#settle(frame);
    } catch (error) {
      this.close(error as Error);
      return;
    }
    const isOwed = this.#waiting.size + this.#givenUp.size > 0;
    this.#silentSinceMs = isOwed ? this.#options.clock.monotonicMs() : null;
  }

  #settle(frame: ResponseFrame): void {
    this.#hasServed = true;
    const waiting = this.#waiting.get(frame.sequence);
    if (waiting === undefined) {
      if (this.#givenUp.delete(frame.sequence)) return;
      throw malformed(`an answer to call ${frame.sequence}, which was not made`);
    }
    this.#waiting.delete(frame.sequence);
    let value: unknown;
    try {
      if (frame.error !== 0) {
        const { code, message } = readError(frame);
        throw new Fault('REFUSED', `the server refused the call: ${message}`, {
          details: { code },
        });
      }
      value = decodeMessage(new ByteReader(frame.body), waiting.method.response);
    } catch (error) {
      waiting.settle(error);
      return;
    }
    waiting.settle(null, value);
  }

  /** A peer that vanished without a word would hold the connection until the system gives up, a quarter of an hour. */
  #closeIfSilent(): void {
    const { clock, silenceMaxMs } = this.#options;
    const sinceMs = this.#silentSinceMs;
    if (sinceMs === null || clock.monotonicMs() - sinceMs < silenceMaxMs) return;
    this.#lose(`the server has not answered anything for ${silenceMaxMs} ms`);
  }

  #lose(reason: string): void {
    this.close(new ConnectionLost(reason, this.#hasServed && this.#isUnheardSinceIdle));
  }
}
