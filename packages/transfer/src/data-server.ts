import type { Socket } from 'node:net';
import { type Clock, every, type Scheduled } from '@tsukimi/base';
import { okStatus } from './data-protocol.ts';
import { type ResolveMemory, TargetSession } from './target-session.ts';
import { TcpListener } from './tcp-listener.ts';

export interface DataServerOptions {
  readonly host: string;
  readonly port: number;
  readonly resolve: ResolveMemory;
  readonly clock: Clock;
  readonly onDeath: (error: unknown) => void;
  readonly connectionCountMax?: number;
  /** A request or an answer that makes no progress for so long ends its connection. */
  readonly stallLimitMs?: number;
}

/** What is handed to the socket at once: small enough that the end of one piece is a sign of life. */
const pieceByteCount = 2 ** 20;
const piecesAheadCount = 4;

/** Serves reads and writes of registered memory to peers: the target's side of the data plane. */
export class DataServer {
  readonly #options: DataServerOptions;
  readonly #listener: TcpListener;
  readonly #connections = new Set<DataConnection>();
  #sweep: Scheduled | null = null;

  constructor(options: DataServerOptions) {
    this.#options = options;
    this.#listener = new TcpListener({
      name: 'data port',
      host: options.host,
      port: options.port,
      connectionCountMax: options.connectionCountMax ?? 1_024,
      onDeath: options.onDeath,
      onConnection: (socket) => this.#accept(socket),
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  async start(): Promise<void> {
    await this.#listener.start();
    const { clock, stallLimitMs = 30_000 } = this.#options;
    this.#sweep = every(clock, stallLimitMs / 6, () => {
      const latestMs = clock.monotonicMs() - stallLimitMs;
      for (const connection of this.#connections) connection.closeIfStalledSince(latestMs);
    });
  }

  async stop(deadline: AbortSignal): Promise<void> {
    const stopped = this.#listener.stop(deadline);
    for (const connection of this.#connections) connection.closeWhenIdle();
    await stopped;
    this.#sweep?.cancel();
  }

  #accept(socket: Socket): void {
    const { resolve, clock } = this.#options;
    const connection = new DataConnection(socket, new TargetSession(resolve), clock);
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
  }
}

class DataConnection {
  readonly #socket: Socket;
  readonly #session: TargetSession;
  readonly #clock: Clock;
  /** What is not yet handed to the socket. */
  #unsent: Buffer[] = [];
  #piecesAhead = 0;
  /** Received behind a request whose answer is still being sent. */
  #unread: Buffer | null = null;
  #progressMs: number;
  #state: 'open' | 'last-request' | 'rejected' = 'open';

  constructor(socket: Socket, session: TargetSession, clock: Clock) {
    this.#socket = socket;
    this.#session = session;
    this.#clock = clock;
    this.#progressMs = clock.monotonicMs();
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
  }

  get #isIdle(): boolean {
    return !this.#session.isMidRequest && this.#unsent.length === 0 && this.#piecesAhead === 0;
  }

  /** An idle connection may stay as long as it likes. */
  closeIfStalledSince(latestMs: number): void {
    const waits = this.#state === 'rejected' || !this.#isIdle;
    if (waits && this.#progressMs <= latestMs) this.#socket.destroy();
  }

  closeWhenIdle(): void {
    if (this.#state === 'rejected' || this.#isIdle) this.#socket.destroy();
    this.#state = 'last-request';
  }

  #receive(chunk: Buffer): void {
    // Whoever was rejected may still be sending; reading on lets our answer arrive before the end.
    if (this.#state === 'rejected') return;
    this.#progressMs = this.#clock.monotonicMs();
    let rest = chunk;
    while (rest.length > 0) {
      const { consumedByteCount, send, close } = this.#session.step(rest);
      rest = rest.subarray(consumedByteCount);
      this.#unsent.push(...send);
      if (close) {
        // Version 1 has no answer for this; a reset is the one sign its writer can see.
        if (send.length === 0) {
          this.#socket.resetAndDestroy();
          return;
        }
        this.#state = 'rejected';
        rest = rest.subarray(rest.length);
      }
      // Requests are served strictly in turn: a later write must not change an answer under way.
      if (send.some((bytes) => bytes !== okStatus)) break;
    }
    this.#send();
    if (this.#piecesAhead > 0) {
      this.#unread = rest;
      this.#socket.pause();
    } else if (this.#state === 'rejected') this.#socket.end();
  }

  #send(): void {
    while (this.#unsent.length > 0 && this.#piecesAhead < piecesAheadCount) {
      const [first = okStatus, ...others] = this.#unsent;
      const piece = first.subarray(0, pieceByteCount);
      this.#unsent =
        piece.length === first.length ? others : [first.subarray(piece.length), ...others];
      this.#piecesAhead += 1;
      this.#socket.write(piece, () => this.#sent());
    }
  }

  #sent(): void {
    this.#piecesAhead -= 1;
    this.#progressMs = this.#clock.monotonicMs();
    if (this.#socket.destroyed) return;
    this.#send();
    if (this.#piecesAhead > 0) return;
    const rest = this.#unread;
    this.#unread = null;
    if (this.#state === 'rejected') this.#socket.end();
    else if (rest !== null && rest.length > 0) this.#receive(rest);
    if (this.#piecesAhead > 0) return;
    if (this.#state === 'last-request' && this.#isIdle) this.#socket.destroy();
    else this.#socket.resume();
  }
}
