import {
  type Clock,
  Ending,
  every,
  type Logger,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import {
  acceptsConnections,
  type JsonValue,
  type MetadataStore,
  parseRpcMeta,
  type RpcMeta,
  rpcMetaKey,
  segmentKey,
} from '@tsukimi/metadata';

/** What the cleaner needs of a metadata store. */
export interface CleanedMetadata extends Pick<MetadataStore, 'get' | 'remove'> {
  close(): Promise<void>;
}

export interface MetadataCleanerOptions {
  readonly open: () => Promise<CleanedMetadata>;
  /** See `segmentKey`. */
  readonly clusterId: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const periodMs = 5_000;
const probeLimitMs = 500;
const engineCountMax = 4_096;
/** An engine that fell silent but lives is looked after for so long, and forgotten then. */
const watchMs = 600_000;

/**
 * Removes the metadata of engines whose client has fallen silent, once nothing accepts connections at their
 * address: then peers learn that they are gone, and the name is free. One that is only cut off from
 * the master keeps what it has published.
 */
export class MetadataCleaner implements Service {
  readonly name = 'metadata cleaner';
  readonly #options: MetadataCleanerOptions;
  readonly #ending = new Ending();
  /** By name of the engine: until when it is looked after, in monotonic milliseconds. */
  readonly #lost = new Map<string, number>();
  #store: CleanedMetadata | null = null;
  #cleaning: Scheduled | null = null;
  #isFailing = false;

  constructor(options: MetadataCleanerOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#store = await this.#options.open();
    this.#cleaning = every(this.#options.clock, periodMs, () => this.clean());
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#cleaning?.cancel();
    await this.#store?.close();
    this.#ending.stopped();
  }

  engineLost(name: string): void {
    const [oldest] = this.#lost.keys();
    if (this.#lost.size >= engineCountMax && oldest !== undefined) this.#lost.delete(oldest);
    this.#lost.set(name, this.#options.clock.monotonicMs() + watchMs);
  }

  /** One round; happens every few seconds by itself. */
  async clean(): Promise<void> {
    const { clock, logger } = this.#options;
    for (const [name, untilMs] of [...this.#lost]) {
      try {
        const isDone = await this.#cleanOne(name);
        if (isDone || clock.monotonicMs() >= untilMs) this.#lost.delete(name);
        this.#isFailing = false;
      } catch (error) {
        if (!this.#isFailing) {
          logger.warn('master.metadata-not-cleaned', { reason: (error as Error).message });
        }
        this.#isFailing = true;
        return;
      }
    }
  }

  /** False while the engine lives. */
  async #cleanOne(name: string): Promise<boolean> {
    const { clock, logger, clusterId } = this.#options;
    const store = this.#store as CleanedMetadata;
    const rpcKey = rpcMetaKey(name, clusterId);
    const held = await store.get(rpcKey);
    const meta = held === null ? null : readRpcMeta(held);
    if (meta !== null) {
      const address = { host: meta.host, port: meta.rpcPort };
      if (await acceptsConnections(address, clock, probeLimitMs)) return false;
    }
    const removed = [await store.remove(segmentKey(name, clusterId)), await store.remove(rpcKey)];
    if (removed.includes(true)) logger.info('master.metadata-removed', { engine: name });
    return true;
  }
}

/** Null for what no engine can read, which belongs to no engine. */
function readRpcMeta(held: JsonValue): RpcMeta | null {
  try {
    return parseRpcMeta(held, 'rpc_meta');
  } catch {
    return null;
  }
}
