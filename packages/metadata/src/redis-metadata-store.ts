import { type Clock, deadline, Fault, type Logger, orAborted } from '@tsukimi/base';
import type { Cluster, Redis } from 'ioredis';
import { type JsonValue, parseJson, sortedJson } from './json.ts';
import { KeptValues, keptSeconds } from './kept-values.ts';
import { describeMetadataAddress, type RedisAddress } from './metadata-address.ts';
import type { ClosableMetadataStore, MetadataCallOptions } from './metadata-store.ts';
import { redisClientFor } from './redis-client.ts';

export interface RedisMetadataStoreOptions {
  readonly address: RedisAddress;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For a whole call. */
  readonly timeoutMs?: number;
}

const waitingCountMax = 1_024;

/** One step in the server, so that no key of another engine ever gets a time to live. */
const extendOwn = `
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end
if held then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1`;

/**
 * Mooncake's metadata in redis: the plain keys, JSON with a newline after it. What this process puts has a
 * time to live that it extends while it runs; an rpc_meta key that another engine holds is not overwritten.
 */
export class RedisMetadataStore implements ClosableMetadataStore {
  readonly #options: RedisMetadataStoreOptions;
  readonly #shown: string;
  readonly #client: Redis | Cluster;
  readonly #kept: KeptValues;
  #waitingCount = 0;
  #lastError: Error | null = null;

  constructor(options: RedisMetadataStoreOptions) {
    const { address, clock, logger } = options;
    this.#options = options;
    this.#shown = `metadata_server ${describeMetadataAddress(address)}`;
    this.#client = redisClientFor(address);
    this.#kept = new KeptValues(clock, logger, (values) => this.#refresh(values));
    // Calls have the fault too; here it must only not be lost or crash the process.
    this.#client.on('error', (error: Error) => {
      this.#lastError = error;
    });
    // A server that was started again may have forgotten everything.
    this.#client.on('ready', () => {
      this.#lastError = null;
      void this.#kept.beat();
    });
  }

  async get(key: string, options: MetadataCallOptions = {}): Promise<JsonValue | null> {
    const text = await this.#call(options, () => this.#client.get(key));
    return text === null ? null : parseJson(text, `metadata of ${key}`);
  }

  async put(key: string, value: JsonValue, options: MetadataCallOptions = {}): Promise<void> {
    const text = `${sortedJson(value)}\n`;
    await this.#call(options, async () => {
      if (!key.includes('rpc_meta')) {
        await this.#client.set(key, text, 'EX', keptSeconds);
      } else if (!(await this.#extend(key, text))) {
        throw new Fault('ALREADY_EXISTS', `metadata: another engine holds ${key}`);
      }
    });
    this.#kept.keep(key, text);
  }

  async remove(key: string, options: MetadataCallOptions = {}): Promise<boolean> {
    this.#kept.drop(key);
    return (await this.#call(options, () => this.#client.del(key))) > 0;
  }

  close(): Promise<void> {
    this.#kept.stop();
    this.#client.disconnect();
    return Promise.resolve();
  }

  /** Whether the key holds this text now; false when another engine's value is there. */
  async #extend(key: string, text: string): Promise<boolean> {
    return (await this.#client.eval(extendOwn, 1, key, text, keptSeconds)) === 1;
  }

  async #refresh(values: ReadonlyMap<string, string>): Promise<void> {
    await this.#call({}, async () => {
      for (const [key, text] of [...values]) {
        if (this.#kept.has(key) && !(await this.#extend(key, text))) this.#kept.drop(key);
      }
    });
  }

  async #call<T>({ signal }: MetadataCallOptions, act: () => Promise<T>): Promise<T> {
    const { clock, timeoutMs = 3_000 } = this.#options;
    if (this.#waitingCount >= waitingCountMax) {
      throw new Fault('OVERLOADED', `${this.#shown}: ${waitingCountMax} calls are waiting already`);
    }
    using limit = deadline(clock, timeoutMs, this.#shown, signal);
    this.#waitingCount += 1;
    try {
      return await orAborted(act(), limit.signal);
    } catch (error) {
      if (error instanceof Fault) throw error;
      throw this.#faultOf(error);
    } finally {
      this.#waitingCount -= 1;
    }
  }

  #faultOf(error: unknown): Fault {
    const reason = error instanceof Error ? error.message : String(error);
    // The library says only that it gave up; why is in what the connection said last.
    const refusal = [reason, this.#lastError?.message ?? ''].find((text) =>
      /^(NOAUTH|WRONGPASS|NOPERM|ERR|READONLY)\b/.test(text),
    );
    if (refusal !== undefined) {
      return new Fault('REFUSED', `${this.#shown} refused: ${refusal}`, { cause: error });
    }
    const why = this.#lastError?.message || reason;
    return new Fault('PEER_UNREACHABLE', `${this.#shown} does not answer: ${why}`, {
      cause: error,
    });
  }
}
