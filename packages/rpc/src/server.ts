import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { type Clock, Ending, type Logger, listenFault, type Service } from '@tsukimi/base';
import { type ArgsOf, ByteWriter, type Protocol, type ResultOf } from '@tsukimi/wire';
import { PeerReleases } from './peer-releases.ts';
import { ServerConnection } from './server-connection.ts';

/** What stands behind a connection; handlers may tell peers apart by it. */
export interface Peer {
  /** Counted from 1 for the life of the server. */
  readonly connectionId: number;
  readonly address: string;
}

/**
 * One function for each call. A plain result is answered in the same write as its neighbours; a promise
 * holds back the answers to later calls of the same connection, since answers keep the order of requests.
 */
export type Handlers<P extends Protocol> = {
  readonly [K in keyof P]: (
    args: ArgsOf<P[K]>,
    peer: Peer,
  ) => ResultOf<P[K]> | Promise<ResultOf<P[K]>>;
};

/** Keeps answers from leaving before what they say is safe. */
export interface AnswerGate {
  /** True: what is answered now leaves when `release` is called, and false: at once. */
  holdBack(release: () => void): boolean;
}

export interface RpcServerLimits {
  readonly connectionCountMax: number;
  /** A longer request closes its connection. */
  readonly frameByteCountMax: number;
  /** A request must be complete this long after its first byte. An idle connection may stay. */
  readonly requestWithinMs: number;
  /** Bytes of half requests over all connections; whoever sends more is cut off. */
  readonly unfinishedByteCountMax: number;
  /** Requests of one connection whose handlers have not answered yet; beyond it we stop reading. */
  readonly runningCountMax: number;
  /** Answers of one connection that its client has not read yet; beyond it we stop reading. */
  readonly unreadByteCountMax: number;
  /** A client that was waited for that long, and still has not read its answers, is cut off. */
  readonly unreadWithinMs: number;
}

const defaultLimits: RpcServerLimits = {
  connectionCountMax: 8_192,
  frameByteCountMax: 32 * 2 ** 20,
  requestWithinMs: 10_000,
  unfinishedByteCountMax: 256 * 2 ** 20,
  runningCountMax: 1_024,
  unreadByteCountMax: 2 ** 20,
  unreadWithinMs: 30_000,
};

/** Of one read. */
const receivedByteCountMax = 2 ** 16;
/** A client whose machine has gone without a word is noticed after this long and some probes. */
const keepAliveInitialDelay = 60_000;

export interface RpcServerOptions<P extends Protocol> {
  readonly name: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** One table of calls, or those of all releases that peers may speak. */
  readonly protocol: Partial<P> | PeerReleases<P>;
  readonly handlers: Handlers<P>;
  /** What to say of calls that there are and that we do not serve, by function id. */
  readonly refusals?: ReadonlyMap<number, string>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<RpcServerLimits>;
  readonly gate?: AnswerGate | undefined;
  /** Bytes that follow the arguments of a request, before its handler runs. Throws what is malformed. */
  readonly onAppendix?: (bytes: Buffer, peer: Peer) => void;
  /** The last that is heard of a peer. */
  readonly onClose?: (peer: Peer) => void;
}

/** Serves a protocol over coro_rpc: parses whole chunks, answers each chunk with one write. */
export class RpcServer<P extends Protocol> implements Service {
  readonly name: string;
  readonly #options: RpcServerOptions<P>;
  readonly #limits: RpcServerLimits;
  readonly #server: Server;
  readonly #connections = new Set<ServerConnection>();
  readonly #ending = new Ending();
  readonly #releases: PeerReleases<P>;
  readonly #out = new ByteWriter();
  readonly #unfinished = { byteCount: 0 };
  readonly #memory = Buffer.allocUnsafeSlow(receivedByteCountMax);
  #connectionCount = 0;

  constructor(options: RpcServerOptions<P>) {
    this.name = options.name;
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    const { protocol } = options;
    this.#releases =
      protocol instanceof PeerReleases
        ? protocol
        : new PeerReleases([{ release: options.name, protocol }], options.name);
    this.#server = createServer(
      { noDelay: true, keepAlive: true, keepAliveInitialDelay, pauseOnConnect: true },
      (socket) => this.#accept(socket),
    );
    this.#server.maxConnections = this.#limits.connectionCountMax;
  }

  /** The port in use; only after `start`. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** How many connections speak which release, or one of which; null for those that have shown nothing. */
  get connectionCountByRelease(): ReadonlyMap<string | null, number> {
    const counts = new Map<string | null, number>();
    for (const { release } of this.#connections) {
      counts.set(release, (counts.get(release) ?? 0) + 1);
    }
    return counts;
  }

  /** What half requests hold, over all connections. */
  get unfinishedByteCount(): number {
    return this.#unfinished.byteCount;
  }

  start(): Promise<void> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenFault(error, this.name, host, port)));
      // All clients of a master come back at once after its restart.
      this.#server.listen({ host, port, backlog: 4_096 }, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', (error) => this.#ending.died(error));
        resolve();
      });
    });
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  /** Answers what was asked before, then closes. */
  async stop(deadline: AbortSignal): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const destroy = () => {
      for (const connection of this.#connections) connection.destroy();
    };
    deadline.addEventListener('abort', destroy, { once: true });
    for (const connection of this.#connections) connection.finish();
    if (deadline.aborted) destroy();
    await closed;
    deadline.removeEventListener('abort', destroy);
    this.#ending.stopped();
  }

  #accept(socket: Socket): void {
    this.#connectionCount += 1;
    const peer = { connectionId: this.#connectionCount, address: socket.remoteAddress ?? '' };
    const connection: ServerConnection = new ServerConnection(socket, {
      peer,
      limits: this.#limits,
      clock: this.#options.clock,
      logger: this.#options.logger,
      releases: this.#releases,
      refusals: this.#options.refusals,
      out: this.#out,
      memory: this.#memory,
      unfinished: this.#unfinished,
      gate: this.#options.gate ?? null,
      handlers: this.#options.handlers as never,
      onAppendix: this.#options.onAppendix,
      onClose: () => {
        this.#connections.delete(connection);
        this.#options.onClose?.(peer);
      },
    });
    this.#connections.add(connection);
  }
}
