import type { Socket } from 'node:net';
import { type Clock, every, type Receiver, receiveInto, type Scheduled } from '@tsukimi/base';
import { requestByteCount, startsWithRead } from './data-protocol.ts';
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
const aheadByteCountMax = 2 * pieceByteCount;
/** Takes a request with 64 KiB of payload in one read. */
const stagingByteCount = 2 ** 16 + 2 ** 10;
/** So much is still to come of a write when it is received straight into memory. */
const directByteCountMin = 2 ** 13;

/** Serves reads and writes of registered memory to peers: the target's side of the data plane. */
export class DataServer {
  readonly #options: DataServerOptions;
  readonly #listener: TcpListener;
  readonly #connections = new Set<DataConnection>();
  /** One for all connections: its bytes are used before the next read. */
  readonly #staging = Buffer.allocUnsafeSlow(stagingByteCount);
  #sweep: Scheduled | null = null;

  constructor(options: DataServerOptions) {
    this.#options = options;
    this.#listener = new TcpListener({
      name: 'data port',
      host: options.host,
      port: options.port,
      connectionCountMax: options.connectionCountMax ?? 1_024,
      isPaused: true,
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
    const connection = new DataConnection(socket, new TargetSession(resolve), this.#staging, clock);
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
  }
}

class DataConnection implements Receiver {
  readonly #socket: Socket;
  readonly #session: TargetSession;
  readonly #staging: Buffer;
  readonly #headerMemory: Buffer;
  readonly #clock: Clock;
  /** What is not yet handed to the socket. */
  #unsent: Buffer[] = [];
  /** Received behind an answer that is still being sent. */
  #unread: Buffer | null = null;
  /** Whether memory is among what is not yet handed to the socket. */
  #showsMemory = false;
  #isConfirming = false;
  #progressMs: number;
  #state: 'open' | 'last-request' | 'rejected' = 'open';
  readonly #onSent = () => this.#sent();

  constructor(accepted: Socket, session: TargetSession, staging: Buffer, clock: Clock) {
    this.#session = session;
    this.#staging = staging;
    this.#headerMemory = staging.subarray(0, requestByteCount);
    this.#clock = clock;
    this.#progressMs = clock.monotonicMs();
    this.#socket = receiveInto(accepted, this);
    // Peers vanish; 'close' follows and is all that matters.
    this.#socket.on('error', () => {});
  }

  get #isFlushed(): boolean {
    return this.#unsent.length === 0 && this.#socket.writableLength === 0;
  }

  get #isIdle(): boolean {
    return !this.#session.isMidRequest && this.#unread === null && this.#isFlushed;
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

  next(): Buffer {
    const { destination } = this.#session;
    if (destination === null) {
      // Without the header before it, all of the next write comes to its place by itself.
      const isWriting = this.#session.lastWriteByteCount >= directByteCountMin;
      return isWriting ? this.#headerMemory : this.#staging;
    }
    const isLong = destination.length >= directByteCountMin;
    return isLong && this.#unread === null ? destination : this.#staging;
  }

  received(byteCount: number, memory: Buffer): void {
    // Whoever was rejected may still be sending; reading on lets our answer arrive before the end.
    if (this.#state === 'rejected') return;
    this.#progressMs = this.#clock.monotonicMs();
    if (memory === this.#session.destination) {
      this.#unsent.push(...this.#session.filled(byteCount));
      this.#served();
    } else this.#serve(memory.subarray(0, byteCount));
  }

  #serve(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      rest = this.#serveAhead(rest);
      // Only memory has to leave at once, and a rejection.
      if (rest.length === 0 && !this.#showsMemory && this.#state !== 'rejected') break;
      this.#send();
      if (!this.#isFlushed) {
        // A later write must not change an answer under way. The memory received into is lent.
        this.#unread = Buffer.from(rest);
        this.#socket.pause();
        return;
      }
      if (this.#state === 'rejected') return void this.#socket.end();
    }
    this.#served();
  }

  /** Serves requests as long as no answer has to leave first. Answers what was not used. */
  #serveAhead(chunk: Buffer): Buffer {
    let rest = chunk;
    while (rest.length > 0) {
      const { consumedByteCount, send, showsMemory, close } = this.#session.step(rest);
      rest = rest.subarray(consumedByteCount);
      this.#unsent.push(...send);
      if (close) {
        // Version 1 has no answer for this; a reset is the one sign its writer can see.
        if (send.length === 0) this.#socket.resetAndDestroy();
        this.#state = 'rejected';
        return rest.subarray(rest.length);
      }
      this.#showsMemory ||= showsMemory;
      if (showsMemory && !startsWithRead(rest)) return rest;
    }
    return rest;
  }

  /** What was received in one turn of the event loop is confirmed in one write. */
  #served(): void {
    if (this.#unsent.length === 0) this.#closeIfLast();
    if (this.#unsent.length === 0 || this.#isConfirming) return;
    this.#isConfirming = true;
    setImmediate(() => {
      this.#isConfirming = false;
      if (this.#socket.destroyed) return;
      this.#send();
      this.#closeIfLast();
    });
  }

  #send(): void {
    this.#showsMemory = false;
    if (this.#unsent.length === 0) return;
    let sentCount = 0;
    this.#socket.cork();
    for (const bytes of this.#unsent) {
      if (this.#socket.writableLength >= aheadByteCountMax) break;
      const piece = bytes.length > pieceByteCount ? bytes.subarray(0, pieceByteCount) : bytes;
      this.#socket.write(piece, this.#onSent);
      if (piece !== bytes) {
        this.#unsent[sentCount] = bytes.subarray(piece.length);
        break;
      }
      sentCount += 1;
    }
    this.#socket.uncork();
    if (sentCount === this.#unsent.length) this.#unsent.length = 0;
    else this.#unsent.splice(0, sentCount);
  }

  #sent(): void {
    this.#progressMs = this.#clock.monotonicMs();
    if (this.#socket.destroyed) return;
    this.#send();
    if (!this.#isFlushed) return;
    const rest = this.#unread;
    this.#unread = null;
    if (this.#state === 'rejected') this.#socket.end();
    else if (rest !== null) {
      this.#serve(rest);
      if (this.#unread === null) this.#socket.resume();
    } else this.#closeIfLast();
  }

  #closeIfLast(): void {
    if (this.#state === 'last-request' && this.#isIdle) this.#socket.destroy();
  }
}
