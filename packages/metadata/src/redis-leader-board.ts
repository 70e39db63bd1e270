import { deadline, Fault, orAborted } from '@tsukimi/base';
import type { Cluster, Redis } from 'ioredis';
import {
  boardCallMs,
  clusterName,
  type LeaderBoard,
  type LeaderBoardOptions,
  type MasterView,
} from './leader-board.ts';
import { describeMetadataAddress, type RedisAddress } from './metadata-address.ts';
import { redisClientFor } from './redis-client.ts';

/** Each is one step in the server. Keys: the view, its counter. */
const take = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local version = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], 'leader_address', ARGV[1], 'view_version', version, 'owner_token', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return version`;
const extend = `
if redis.call('HGET', KEYS[1], 'owner_token') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`;
const drop = `
if redis.call('HGET', KEYS[1], 'owner_token') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

/**
 * The lead as a hash that expires: `mooncake-store/{<cluster>}/master_view` has `leader_address`,
 * `view_version` and `owner_token`, and `…/master_view_version` counts the elections.
 */
export class RedisLeaderBoard implements LeaderBoard {
  readonly #options: LeaderBoardOptions<RedisAddress>;
  readonly #keys: readonly [view: string, counter: string];
  readonly #client: Redis | Cluster;
  readonly #token: string;

  constructor(options: LeaderBoardOptions<RedisAddress>) {
    this.#options = options;
    const tag = clusterName(options.clusterId).replace(/[{}]/g, '_');
    this.#keys = [
      `mooncake-store/{${tag}}/master_view`,
      `mooncake-store/{${tag}}/master_view_version`,
    ];
    this.#token = Array.from({ length: 4 }, () => options.random.uint32().toString(16)).join('-');
    this.#client = redisClientFor(options.address);
    // Every call has the fault too; here it must only not be lost.
    this.#client.on('error', () => {});
  }

  read(signal?: AbortSignal): Promise<MasterView | null> {
    return this.#call(async () => {
      const [view] = this.#keys;
      const [address, version] = await this.#client.hmget(view, 'leader_address', 'view_version');
      if (address == null || version == null) return null;
      return { address, version: Number(version) };
    }, signal);
  }

  campaign(address: string): Promise<MasterView | null> {
    return this.#call(async () => {
      const ttlMs = this.#options.ttlSec * 1e3;
      const version = await this.#client.eval(take, 2, ...this.#keys, address, this.#token, ttlMs);
      return version === 0 ? null : { address, version: Number(version) };
    });
  }

  renew(): Promise<boolean> {
    return this.#call(async () => {
      const ttlMs = this.#options.ttlSec * 1e3;
      return (await this.#client.eval(extend, 1, this.#keys[0], this.#token, ttlMs)) === 1;
    });
  }

  async resign(): Promise<void> {
    await this.#call(() => this.#client.eval(drop, 1, this.#keys[0], this.#token)).catch(() => {});
  }

  close(): void {
    this.#client.disconnect();
  }

  async #call<T>(act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { clock, address } = this.#options;
    const shown = `the leader's key in ${describeMetadataAddress(address)}`;
    using limit = deadline(clock, boardCallMs, shown, signal);
    try {
      return await orAborted(act(), limit.signal);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Fault('PEER_UNREACHABLE', `${shown}: ${reason}`, { cause: error });
    }
  }
}
