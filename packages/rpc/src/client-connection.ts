import { connect, type Socket } from 'node:net';
import { type Address, Fault } from '@tsukimi/base';
import {
  ByteReader,
  ByteWriter,
  decodeMessage,
  encodeArgs,
  type Protocol,
  type ResponseFrame,
  ResponseParser,
  readError,
  writeRequest,
} from '@tsukimi/wire';

type Method = Protocol[string];

interface Waiting {
  readonly method: Method;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export interface ClientConnectionLimits {
  readonly callCountMax: number;
  readonly frameByteCountMax: number;
}

/** The connection ended under a call. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
  /** The connection had served before, and nothing came back on it since the call was sent. */
  readonly mayRepeat: boolean;

  constructor(message: string, mayRepeat: boolean) {
    super(message);
    this.mayRepeat = mayRepeat;
  }
}

/** One socket to a server, with any number of calls under way on it. */
export class ClientConnection {
  readonly #socket: Socket;
  readonly #limits: ClientConnectionLimits;
  readonly #parser: ResponseParser;
  readonly #out = new ByteWriter();
  readonly #waiting = new Map<number, Waiting>();
  #sequence = 0;
  #isFlushScheduled = false;
  #answerCount = 0;
  #answerCountAtOldest = 0;

  /** Rejects with the socket's error or the reason of `signal`. */
  static open(
    { host, port }: Address,
    signal: AbortSignal,
    limits: ClientConnectionLimits,
  ): Promise<ClientConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true });
      const abort = () => {
        socket.destroy();
        reject(signal.reason as Error);
      };
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort, { once: true });
      socket.once('error', (error) => {
        signal.removeEventListener('abort', abort);
        reject(error);
      });
      socket.once('connect', () => {
        signal.removeEventListener('abort', abort);
        socket.removeAllListeners('error');
        resolve(new ClientConnection(socket, limits));
      });
    });
  }

  private constructor(socket: Socket, limits: ClientConnectionLimits) {
    this.#socket = socket;
    this.#limits = limits;
    this.#parser = new ResponseParser(limits.frameByteCountMax);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#lost(error.message));
    socket.on('close', () => this.#lost('the connection was closed'));
    // The other side may close only the half that sends; calls on it would wait for nothing.
    socket.on('end', () => this.#lost('the connection was closed'));
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  call(method: Method, args: unknown, signal: AbortSignal): Promise<unknown> {
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    if (this.#waiting.size >= this.#limits.callCountMax) {
      const message = `${this.#waiting.size} calls wait for an answer already`;
      return Promise.reject(new Fault('OVERLOADED', message));
    }
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) >>> 0;
    if (this.#waiting.size === 0) this.#answerCountAtOldest = this.#answerCount;
    const start = this.#out.position;
    try {
      writeRequest(this.#out, sequence, method.functionId, () =>
        encodeArgs(this.#out, method, args as never),
      );
    } catch (error) {
      this.#out.position = start;
      return Promise.reject(error as Error);
    }
    this.#scheduleFlush();
    return new Promise((resolve, reject) => {
      // The answer to a call that was given up is dropped when it comes.
      const abort = () => {
        this.#waiting.delete(sequence);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.set(sequence, {
        method,
        resolve: (value) => {
          signal.removeEventListener('abort', abort);
          resolve(value);
        },
        reject: (error) => {
          signal.removeEventListener('abort', abort);
          reject(error as Error);
        },
      });
    });
  }

  close(reason: Error): void {
    this.#socket.destroy();
    this.#rejectAll(reason);
  }

  /** Calls made in one turn of the event loop leave in one write. */
  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    queueMicrotask(() => {
      this.#isFlushScheduled = false;
      if (this.isOpen) this.#socket.write(this.#out.take());
    });
  }

  #read(chunk: Buffer): void {
    try {
      for (const frame of this.#parser.push(chunk)) this.#settle(frame);
    } catch (error) {
      this.close(error as Error);
    }
  }

  #settle(frame: ResponseFrame): void {
    const waiting = this.#waiting.get(frame.sequence);
    if (waiting === undefined) return;
    this.#waiting.delete(frame.sequence);
    this.#answerCount += 1;
    try {
      if (frame.error === 0) {
        waiting.resolve(decodeMessage(new ByteReader(frame.body), waiting.method.response));
        return;
      }
      const { code, message } = readError(frame);
      waiting.reject(
        new Fault('REFUSED', `the server refused the call: ${message}`, { details: { code } }),
      );
    } catch (error) {
      waiting.reject(error);
    }
  }

  #lost(reason: string): void {
    this.#socket.destroy();
    const servedBefore = this.#answerCount > 0;
    const mayRepeat = servedBefore && this.#answerCount === this.#answerCountAtOldest;
    this.#rejectAll(new ConnectionLost(reason, mayRepeat));
  }

  #rejectAll(reason: Error): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const call of waiting) call.reject(reason);
  }
}
