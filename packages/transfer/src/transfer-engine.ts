import {
  type CancelSignal,
  type Clock,
  deadline,
  Ending,
  Fault,
  formatAddress,
  type Logger,
  type Random,
  type Service,
} from '@tsukimi/base';
import {
  acceptsConnections,
  formatSegmentDescriptor,
  type JsonValue,
  type MetadataStore,
  type RegisteredBuffer,
  type RpcMeta,
  type SegmentDescriptor,
} from '@tsukimi/metadata';
import { DataServer } from './data-server.ts';
import { type HandshakeOptions, shakeHands } from './handshake-client.ts';
import { HandshakeDaemon } from './handshake-daemon.ts';
import { type HandshakeType, handshakeTypes } from './handshake-protocol.ts';
import { LocalTransport } from './local-transport.ts';
import type { Memory } from './memory.ts';
import { MemoryRegistry } from './memory-registry.ts';
import { Mover } from './mover.ts';
import { type Notification, NotificationQueue } from './notification-queue.ts';
import { type Peer, PeerDirectory } from './peer-directory.ts';
import { HandshakePeerSource, MetadataPeerSource, type PeerSource } from './peer-source.ts';
import { Publisher } from './publisher.ts';
import { hostId } from './segment-file.ts';
import { SharedMemoryTransport } from './shared-memory-transport.ts';
import { TcpTransport } from './tcp-transport.ts';
import { TransferBatch, type TransferRequest } from './transfer-batch.ts';
import type { Transport } from './transport.ts';

export interface TransferEngineOptions {
  /**
   * Unique in the cluster, `host:port` by custom; peers address this engine by it. Without a metadata
   * server it is replaced by the address of the handshake daemon.
   */
  readonly name: string;
  /** Null where engines ask each other instead (`P2PHANDSHAKE`). */
  readonly metadata: MetadataStore | null;
  /** Where peers reach this engine. */
  readonly host: string;
  /** Where it listens; `host` when absent. */
  readonly listenHost?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Offer own shared memory to peers on this host, and use theirs. */
  readonly sharedMemory: boolean;
  /**
   * More addresses of this machine, one for each further network interface. Peers of ours spread their
   * connections over all of them; others use `host` alone.
   */
  readonly dataHosts?: readonly string[];
  /** 0, the default, picks a free one. */
  readonly dataPort?: number;
  readonly rpcPort?: number;
  readonly clusterId?: string;
  /** Of a connection to a peer. */
  readonly connectTimeoutMs?: number;
  /** A transfer may take `transferBaseMs`, and as long again for each GiB. */
  readonly transferBaseMs?: number;
  /** Whether the engine that holds our name in the metadata is there; by default its port is tried. */
  readonly isAlive?: (meta: RpcMeta) => Promise<boolean>;
}

export interface TransferOptions {
  readonly signal?: CancelSignal;
}

/** Requests that our data port takes on one connection before the first is answered. */
const requestsAhead = 64;
const requestCountMax = 16_384;

/** Speaks for this process's memory to its peers, and for its peers' memory to this process. */
export class TransferEngine implements Service {
  readonly #options: TransferEngineOptions;
  readonly #host: string;
  readonly #registry = new MemoryRegistry();
  readonly #data: DataServer;
  /** One for each of `dataHosts`. */
  readonly #moreData: readonly DataServer[];
  readonly #handshake: HandshakeDaemon;
  readonly #source: PeerSource;
  readonly #peers: PeerDirectory;
  readonly #notifications = new NotificationQueue();
  readonly #shared: SharedMemoryTransport;
  readonly #transports: readonly Transport[];
  readonly #mover: Mover;
  readonly #ending = new Ending();
  #name: string;
  #publisher: Publisher | null = null;
  #isStopped = false;

  constructor(options: TransferEngineOptions) {
    this.#name = options.name;
    this.#options = options;
    this.#host = options.host === 'localhost' ? '127.0.0.1' : options.host;
    const listening = {
      host: options.listenHost ?? this.#host,
      clock: options.clock,
      onDeath: (error: unknown) => this.#ending.died(error),
    };
    const resolve = (address: bigint, byteCount: bigint) =>
      this.#registry.resolve(address, byteCount);
    this.#data = new DataServer({ ...listening, port: options.dataPort ?? 0, resolve });
    this.#moreData = (options.dataHosts ?? []).map(
      (host) => new DataServer({ ...listening, host, port: 0, resolve }),
    );
    const { metadata, clusterId = '' } = options;
    this.#handshake = new HandshakeDaemon({
      ...listening,
      port: options.rpcPort ?? 0,
      describe: () => (metadata === null ? this.#formatSelf() : null),
      notified: (notification) => this.#notifications.offer(notification),
    });
    this.#source =
      metadata === null
        ? new HandshakePeerSource(
            (address, type, value, signal) =>
              shakeHands(address, type, value, this.#handshakeOptions(signal)),
            () => this.#formatSelf(),
          )
        : new MetadataPeerSource(metadata, clusterId, options.clock);
    this.#peers = new PeerDirectory(this.#source, options.clock);
    this.#shared = new SharedMemoryTransport(options.sharedMemory ? hostId() : 'none');
    this.#transports = [
      new LocalTransport(() => this.#name, this.#registry),
      ...(options.sharedMemory ? [this.#shared] : []),
      new TcpTransport({
        clock: options.clock,
        connectTimeoutMs: options.connectTimeoutMs ?? 1_000,
      }),
    ];
    this.#mover = new Mover({
      clock: options.clock,
      peers: this.#peers,
      transports: this.#transports,
      own: (endpoint) => (endpoint === this.#name ? this.#ownPeer() : null),
      baseLimitMs: options.transferBaseMs ?? 1_000,
    });
  }

  /** What peers call it; without a metadata server only after `start`. */
  get name(): string {
    return this.#name;
  }

  /** Only after `start`. */
  get dataPort(): number {
    return this.#data.port;
  }

  /**
   * Resolves once peers can connect; a metadata server that is down is tried again in the background.
   * Rejects with `MISCONFIGURED` or, when a living engine has the name, `ALREADY_EXISTS`.
   */
  async start(): Promise<void> {
    const { logger, metadata } = this.#options;
    try {
      for (const server of [this.#data, ...this.#moreData]) await server.start();
      await this.#handshake.start();
      if (metadata !== null) await this.#publish(metadata);
      else this.#name = formatAddress({ host: this.#host, port: this.#handshake.port });
    } catch (error) {
      await this.#close(AbortSignal.abort());
      throw error;
    }
    logger.info('transfer.listening', {
      name: this.name,
      host: this.#host,
      dataPort: this.#data.port,
      rpcPort: this.#handshake.port,
    });
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(deadline: AbortSignal): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#mover.stop();
    await this.#publisher?.stop(deadline);
    await this.#close(deadline);
    for (const memory of this.#registry.memories) memory.close();
    this.#ending.stopped();
  }

  /** Opens `memory` to peers: at once for those who know its address, and in the metadata soon. */
  register(memory: Memory): void {
    this.#registry.register(memory);
    this.#publisher?.changed();
  }

  /** Peers can no longer reach it over TCP; close it to end sharing it on this host. */
  unregister(memory: Memory): void {
    if (this.#registry.unregister(memory)) this.#publisher?.changed();
  }

  /** Resolves when the metadata shows what is registered now; rejects with the reason of `signal`. */
  async published(signal: AbortSignal): Promise<void> {
    await this.#publisher?.published(signal);
  }

  /** Fills `into` with the bytes at `address` of a peer, or of this engine. See `Transport`. */
  read(
    endpoint: string,
    address: bigint,
    into: Buffer,
    options: TransferOptions = {},
  ): Promise<void> {
    return this.#mover.transfer('read', endpoint, address, into, options.signal);
  }

  /** Puts `from` to `address` of a peer, or of this engine. See `Transport`. */
  write(
    endpoint: string,
    address: bigint,
    from: Buffer,
    options: TransferOptions = {},
  ): Promise<void> {
    return this.#mover.transfer('write', endpoint, address, from, options.signal);
  }

  /**
   * Begins transfers that are looked after together. Throws `INVALID_ARGUMENT` for more than 16,384; a
   * request that cannot be begun is one that has failed.
   */
  submit(requests: readonly TransferRequest[], { signal }: TransferOptions = {}): TransferBatch {
    if (requests.length > requestCountMax) {
      const message = `${requests.length} requests are more than the ${requestCountMax} of one batch`;
      throw new Fault('INVALID_ARGUMENT', message);
    }
    return new TransferBatch(
      requests,
      ({ kind, endpoint, address, bytes }, cancelling) =>
        this.#mover.transfer(kind, endpoint, address, bytes, cancelling),
      signal,
    );
  }

  /** The memory that a peer has registered, as it says now. Rejects with `PEER_UNREACHABLE`. */
  async buffersOf(
    endpoint: string,
    options: TransferOptions = {},
  ): Promise<readonly RegisteredBuffer[]> {
    if (endpoint === this.name) return this.#describe().buffers;
    using limit = this.#limit('finding', endpoint, options.signal);
    this.invalidate(endpoint);
    return (await this.#peers.find(endpoint, limit.signal)).descriptor.buffers;
  }

  /**
   * A live view of a peer's bytes where they lie in memory of this process or host; null where they
   * do not. Rejects like `read` when the peer cannot be found.
   */
  async mapped(
    endpoint: string,
    address: bigint,
    byteCount: number,
    options: TransferOptions = {},
  ): Promise<Buffer | null> {
    if (endpoint === this.name) return this.#registry.resolve(address, BigInt(byteCount));
    if (!this.#options.sharedMemory) return null;
    const known = this.#mover.knownHolder(endpoint, address, byteCount);
    if (known !== null) return this.#shared.view(known, address, byteCount);
    using limit = this.#limit('finding', endpoint, options.signal);
    const peer = await this.#mover.holder(endpoint, address, byteCount, limit.signal);
    return this.#shared.view(peer, address, byteCount);
  }

  /** Sends a word to a peer. Rejects with `PEER_UNREACHABLE`, and with `REFUSED` when it has no room. */
  async notify(
    endpoint: string,
    notification: Notification,
    options: TransferOptions = {},
  ): Promise<void> {
    const { name, message: notify_msg } = notification;
    const answer = await this.#shakeHands(
      endpoint,
      handshakeTypes.notify,
      { name, notify_msg },
      options,
    );
    const reply = (Object(answer) as Record<string, unknown>)['notify_msg'];
    if (typeof reply !== 'string' || reply === '') {
      throw new Fault('REFUSED', `${endpoint}: takes no notifications now`);
    }
  }

  /** What peers have sent since the last call. A peer whose notification finds no room is told. */
  takeNotifications(): Notification[] {
    return this.#notifications.takeAll();
  }

  /** Resolves when the engine of that name answers; rejects with `PEER_UNREACHABLE`. */
  async probe(endpoint: string, options: TransferOptions = {}): Promise<void> {
    await this.#shakeHands(endpoint, handshakeTypes.probe, {}, options);
  }

  /** Forgets what is known about a peer; the next transfer asks again. */
  invalidate(endpoint: string): void {
    const peer = this.#peers.forget(endpoint);
    if (peer !== null) for (const transport of this.#transports) transport.forget(peer);
  }

  checkInvariants(): void {
    this.#registry.checkInvariants();
    this.#mover.checkInvariants();
  }

  async #publish(metadata: MetadataStore): Promise<void> {
    const { clock, random, logger, clusterId = '' } = this.#options;
    const publisher = new Publisher({
      engineName: this.name,
      clusterId,
      metadata,
      rpcMeta: { host: this.#host, rpcPort: this.#handshake.port },
      describe: () => this.#describe(),
      isAlive:
        this.#options.isAlive ??
        (({ host, rpcPort }) => acceptsConnections({ host, port: rpcPort }, clock, 200)),
      clock,
      random,
      logger,
    });
    await publisher.start();
    this.#publisher = publisher;
  }

  async #shakeHands(
    endpoint: string,
    type: HandshakeType,
    value: JsonValue,
    { signal }: TransferOptions,
  ): Promise<JsonValue> {
    using limit = this.#limit('handshake', endpoint, signal);
    const address = await this.#source.handshakeAddress(endpoint, limit.signal);
    return await shakeHands(address, type, value, this.#handshakeOptions(limit.signal));
  }

  #handshakeOptions(signal: AbortSignal): HandshakeOptions {
    const { clock, connectTimeoutMs = 1_000 } = this.#options;
    return { clock, connectTimeoutMs, signal };
  }

  #formatSelf(): JsonValue {
    return formatSegmentDescriptor(this.#describe());
  }

  #limit(what: string, endpoint: string, signal: CancelSignal | undefined) {
    const { clock, transferBaseMs = 1_000 } = this.#options;
    return deadline(clock, transferBaseMs, `${what} of ${endpoint}`, signal);
  }

  #ownPeer(): Peer {
    return {
      endpoint: this.name,
      descriptor: this.#describe(),
      dataAddress: { host: this.#host, port: this.#data.port },
    };
  }

  #describe(): SegmentDescriptor {
    const { memories } = this.#registry;
    const shared = memories.flatMap(({ baseAddress, byteCount, sharedPath, sharedInode }) =>
      sharedPath === null || sharedInode === null
        ? []
        : [{ address: baseAddress, byteCount, path: sharedPath, inode: sharedInode }],
    );
    return {
      name: this.name,
      protocols: ['tcp'],
      tcpDataHost: this.#host,
      tcpDataPort: this.#data.port,
      tcpProtoVersion: 2,
      timestamp: timestamp(this.#options.clock.wallMs()),
      buffers: memories.map(({ baseAddress, byteCount }) => ({
        name: this.name,
        address: baseAddress,
        byteCount,
      })),
      sharedMemory:
        this.#options.sharedMemory && shared.length > 0
          ? { host: hostId(), buffers: shared }
          : null,
      ownTarget: {
        requestsAhead,
        addresses: (this.#options.dataHosts ?? []).map((host, index) => ({
          host,
          port: this.#moreData[index]?.port ?? 0,
        })),
      },
    };
  }

  async #close(deadline: AbortSignal): Promise<void> {
    for (const transport of this.#transports) transport.close();
    const servers = [this.#data, ...this.#moreData];
    await Promise.all([...servers.map((server) => server.stop(deadline)), this.#handshake.stop()]);
  }
}

/** Local time, as Mooncake writes it. */
function timestamp(wallMs: number): string {
  const date = new Date(wallMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${day} ${time}.${String(date.getMilliseconds()).padStart(3, '0')}000`;
}
