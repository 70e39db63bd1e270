import { type Clock, deadline, Fault, type Logger, type Random, sleep } from '@tsukimi/base';
import {
  formatRpcMeta,
  formatSegmentDescriptor,
  type JsonValue,
  type MetadataStore,
  parseRpcMeta,
  type RpcMeta,
  rpcMetaKey,
  type SegmentDescriptor,
  segmentKey,
  sortedJson,
} from '@tsukimi/metadata';

export interface PublisherOptions {
  readonly engineName: string;
  readonly clusterId: string;
  readonly metadata: MetadataStore;
  readonly rpcMeta: RpcMeta;
  /** What is to be published, as of now. */
  readonly describe: () => SegmentDescriptor;
  /** Whether the engine behind somebody's rpc_meta is still there. */
  readonly isAlive: (meta: RpcMeta) => Promise<boolean>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const checkPeriodMs = 5_000;
const retryFirstMs = 250;
const retryMaxMs = 5_000;
const withdrawLimitMs = 3_000;

/**
 * Keeps the metadata saying what is true of one engine: publishes, looks after it every few seconds
 * (a metadata server may come back empty), and tries again for ever while the server is down.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #rpcKey: string;
  readonly #segmentKey: string;
  readonly #stopping = new AbortController();
  /** Counts changes; published is what the metadata is known to hold. */
  #version = 1;
  #publishedVersion = 0;
  #failureCount = 0;
  #wake = new AbortController();
  #awaiting: (() => void)[] = [];
  #running: Promise<void> = Promise.resolve();

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#rpcKey = rpcMetaKey(options.engineName, options.clusterId);
    this.#segmentKey = segmentKey(options.engineName, options.clusterId);
  }

  /** Tries once, then goes on by itself. Rejects only if another living engine has the name. */
  async start(): Promise<void> {
    const fault = await this.#round();
    if (Fault.has(fault, 'ALREADY_EXISTS')) throw fault;
    this.#running = this.#run();
  }

  /** What `describe` answers has changed. */
  changed(): void {
    this.#version += 1;
    this.#wake.abort();
  }

  /** Resolves when everything up to the latest change can be seen by peers. */
  published(signal: AbortSignal): Promise<void> {
    const version = this.#version;
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#awaiting = this.#awaiting.filter((other) => other !== look);
        reject(signal.reason as Error);
      };
      const look = () => {
        if (this.#publishedVersion < version) return;
        signal.removeEventListener('abort', leave);
        this.#awaiting = this.#awaiting.filter((other) => other !== look);
        resolve();
      };
      if (signal.aborted) return leave();
      signal.addEventListener('abort', leave, { once: true });
      this.#awaiting.push(look);
      look();
    });
  }

  /** Removes what was published, unless the name has gone to another engine. Never rejects. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#stopping.abort(new Fault('CANCELLED', 'the transfer engine is stopping'));
    this.#wake.abort();
    await this.#running;
    if (this.#publishedVersion === 0) return;
    const { metadata, clock, logger } = this.#options;
    using limit = deadline(clock, withdrawLimitMs, 'withdrawing metadata', signal);
    try {
      const held = await metadata.get(this.#rpcKey, limit);
      if (held !== null && !this.#isOurs(held)) return;
      await metadata.remove(this.#rpcKey, limit);
      await metadata.remove(this.#segmentKey, limit);
    } catch (error) {
      logger.warn('transfer.not-withdrawn', { reason: reasonOf(error) });
    }
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#options;
    while (!this.#stopping.signal.aborted) {
      const share = 0.75 + random.uint32() / 2 ** 33;
      const pauseMs =
        this.#failureCount === 0
          ? checkPeriodMs
          : Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(this.#failureCount - 1, 10));
      await sleep(clock, pauseMs * share, this.#wake.signal);
      this.#wake = new AbortController();
      if (!this.#stopping.signal.aborted) await this.#round();
    }
  }

  /** Answers the failure, if there was one. */
  async #round(): Promise<unknown> {
    const version = this.#version;
    try {
      await this.#publish();
    } catch (error) {
      if (this.#failureCount === 0 && !this.#stopping.signal.aborted) {
        this.#options.logger.warn('transfer.not-published', { reason: reasonOf(error) });
      }
      this.#failureCount += 1;
      return error;
    }
    if (this.#failureCount > 0) this.#options.logger.info('transfer.published-again');
    this.#failureCount = 0;
    this.#publishedVersion = Math.max(this.#publishedVersion, version);
    for (const look of this.#awaiting) look();
    return null;
  }

  async #publish(): Promise<void> {
    const { metadata, describe } = this.#options;
    const { signal } = this.#stopping;
    await this.#claimName();
    const wanted = formatSegmentDescriptor(describe());
    const held = await metadata.get(this.#segmentKey, { signal });
    if (held === null || withoutTime(held) !== withoutTime(wanted)) {
      await metadata.put(this.#segmentKey, wanted, { signal });
    }
  }

  /** Takes the name, also from an engine that is gone; some metadata servers never forget one. */
  async #claimName(): Promise<void> {
    const { metadata, engineName, isAlive } = this.#options;
    const { signal } = this.#stopping;
    const held = await metadata.get(this.#rpcKey, { signal });
    if (held !== null) {
      if (this.#isOurs(held)) return;
      const other = readable(held);
      if (other !== null && (await isAlive(other))) {
        throw new Fault(
          'ALREADY_EXISTS',
          `the name ${engineName} belongs to an engine at ${other.host}:${other.rpcPort}; choose another local_hostname`,
        );
      }
      await metadata.remove(this.#rpcKey, { signal });
    }
    await metadata.put(this.#rpcKey, formatRpcMeta(this.#options.rpcMeta), { signal });
  }

  #isOurs(held: JsonValue): boolean {
    const ours = formatRpcMeta(this.#options.rpcMeta);
    return sortedJson(held) === sortedJson(ours);
  }
}

/** Two descriptors that differ in their timestamp alone say the same. */
function withoutTime(descriptor: JsonValue): string {
  return sortedJson(descriptor).replace(/"timestamp":"[^"]*"/, '');
}

/** Null for what no engine can read, which belongs to no engine. */
function readable(held: JsonValue): RpcMeta | null {
  try {
    return parseRpcMeta(held, 'rpc_meta');
  } catch {
    return null;
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
