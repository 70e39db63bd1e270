import { below, type Random } from '@tsukimi/base';
import { ErrorCode } from '@tsukimi/wire';
import { expect } from 'vitest';
import { isValue, type PoolClient, type Value } from './pool-client.ts';

const keyCount = 150;
const groups = ['a', 'b', 'c', 'd', 'e'];
const allKeys = Array.from(
  { length: keyCount },
  (_, index) => `${groups[index % groups.length]}/${index}`,
);
/** Small ones most of the time, and now and then a long one. */
const sizeMaxima = [100, 4_096, 4_096, 20_000, 65_536, 65_536, 65_536, 1 << 20];

export const sizeMax = 1 << 20;

interface Stored extends Value {
  readonly replicaNum: number;
}

/** Plays random calls against a pool, one at a time, and knows what each must answer. */
export class PoolModel {
  readonly #random: Random;
  readonly #clients: readonly PoolClient[];
  readonly #holderCount: number;
  /** Waits until a lease granted now has ended. */
  readonly #outlastLease: (sinceMs: number) => Promise<void>;
  readonly #objects = new Map<string, Stored>();
  readonly #leasedAtMs = new Map<string, number>();
  /** How often each call was made and found something to do. */
  readonly counts = new Map<string, number>();
  #nextSeed = 1;

  constructor(options: {
    readonly random: Random;
    readonly clients: readonly PoolClient[];
    /** Clients that lend a segment. */
    readonly holderCount: number;
    readonly outlastLease: (sinceMs: number) => Promise<void>;
  }) {
    this.#random = options.random;
    this.#clients = options.clients;
    this.#holderCount = options.holderCount;
    this.#outlastLease = options.outlastLease;
  }

  async step(): Promise<void> {
    const client = this.#pick(this.#clients);
    const key = this.#pick(allKeys);
    const weights = [
      ...[
        [20, 'put'],
        [4, 'putBatch'],
        [12, 'upsert'],
        [24, 'get'],
        [5, 'getBatch'],
        [5, 'getInto'],
        [6, 'exist'],
        [6, 'size'],
        [6, 'holders'],
        [5, 'remove'],
        [6, 'removeForced'],
        [1, 'removeByRegex'],
      ],
    ] as const;
    let draw = below(
      this.#random,
      weights.reduce((sum, [weight]) => sum + weight, 0),
    );
    const [, call] = weights.find(([weight]) => (draw -= weight) < 0) ?? [0, 'get'];
    try {
      await this[call](client, key);
    } catch (error) {
      throw new Error(`${client.label}.${call}(${key}) differs from the model`, { cause: error });
    }
  }

  /** What every client must see at the end. */
  async checkAll(): Promise<void> {
    for (const client of this.#clients) {
      for (const key of allKeys) await this.get(client, key);
    }
  }

  async put(client: PoolClient, key: string): Promise<void> {
    const value = this.#value();
    const replicaNum = 1 + below(this.#random, 2);
    expect(await client.put(key, value, replicaNum)).toBe(0);
    this.#count('put', !this.#objects.has(key));
    if (!this.#objects.has(key)) this.#objects.set(key, { ...value, replicaNum });
    this.#leased([key]);
  }

  async putBatch(client: PoolClient): Promise<void> {
    const keys = this.#someKeys();
    const values = keys.map(() => this.#value());
    expect(await client.putBatch(keys, values)).toBe(0);
    for (const [index, key] of keys.entries()) {
      this.#count('putBatch', !this.#objects.has(key));
      if (this.#objects.has(key)) continue;
      this.#objects.set(key, { ...(values[index] as Value), replicaNum: 1 });
    }
    this.#leased(keys);
  }

  async upsert(client: PoolClient, key: string): Promise<void> {
    const before = this.#objects.get(key);
    const value = this.#value();
    // Half of those that replace something have the same length: they are written in place.
    const isSameSize = before !== undefined && below(this.#random, 2) === 0;
    const size = isSameSize ? before.size : value.size;
    const replicaNum = 1 + below(this.#random, 2);
    expect(await client.upsert(key, { ...value, size }, replicaNum)).toBe(0);
    this.#count('upsert', before !== undefined);
    const keepsPlaces = before?.size === size;
    const count = keepsPlaces ? before.replicaNum : replicaNum;
    this.#objects.set(key, { seed: value.seed, size, replicaNum: count });
    this.#leased([key]);
  }

  async get(client: PoolClient, key: string): Promise<void> {
    this.#expectSeen(key, await client.get(key));
    this.#count('get', this.#objects.has(key));
    this.#leased([key]);
  }

  async getBatch(client: PoolClient): Promise<void> {
    const keys = this.#someKeys();
    const read = await client.getBatch(keys);
    expect(read.length).toBe(keys.length);
    for (const [index, key] of keys.entries()) {
      this.#expectSeen(key, read[index] ?? null);
      this.#count('getBatch', this.#objects.has(key));
    }
    this.#leased(keys);
  }

  async getInto(client: PoolClient, key: string): Promise<void> {
    const object = this.#objects.get(key);
    const capacity = 1 + below(this.#random, sizeMax);
    const read = await client.getInto(key, capacity);
    this.#count('getInto', object !== undefined && object.size <= capacity);
    this.#leased([key]);
    if (object === undefined) expect(read).toBe(ErrorCode.OBJECT_NOT_FOUND);
    else if (object.size > capacity) expect(read).toBe(ErrorCode.INVALID_PARAMS);
    else if (typeof read === 'number') expect(read).toBe(object.size);
    else this.#expectSeen(key, read);
  }

  async exist(client: PoolClient): Promise<void> {
    const keys = this.#someKeys();
    const expected = keys.map((key) => Number(this.#objects.has(key)));
    expect(await client.exist(keys)).toEqual(expected);
    this.#count('exist', expected.includes(1));
    this.#leased(keys);
  }

  async size(client: PoolClient, key: string): Promise<void> {
    const expected = this.#objects.get(key)?.size ?? ErrorCode.OBJECT_NOT_FOUND;
    expect(await client.size(key)).toBe(expected);
    this.#count('size', expected > 0);
    this.#leased([key]);
  }

  async holders(client: PoolClient, key: string): Promise<void> {
    const holders = await client.holders(key);
    const { replicaNum = 0 } = this.#objects.get(key) ?? {};
    expect(holders.length).toBe(Math.min(replicaNum, this.#holderCount));
    expect(new Set(holders).size).toBe(holders.length);
    this.#count('holders', holders.length > 0);
    this.#leased([key]);
  }

  async remove(client: PoolClient, key: string): Promise<void> {
    const leasedAtMs = this.#leasedAtMs.get(key);
    if (leasedAtMs !== undefined && this.#objects.has(key)) await this.#outlastLease(leasedAtMs);
    await this.#remove(client, key, false);
  }

  async removeForced(client: PoolClient, key: string): Promise<void> {
    await this.#remove(client, key, true);
  }

  async removeByRegex(client: PoolClient): Promise<void> {
    const group = this.#pick(groups);
    const gone = [...this.#objects.keys()].filter((key) => key.startsWith(`${group}/`));
    expect(await client.removeByRegex(`^${group}/`)).toBe(gone.length);
    for (const key of gone) this.#objects.delete(key);
    this.#count('removeByRegex', gone.length > 0);
  }

  async #remove(client: PoolClient, key: string, force: boolean): Promise<void> {
    const isThere = this.#objects.delete(key);
    expect(await client.remove(key, force)).toBe(isThere ? 0 : ErrorCode.OBJECT_NOT_FOUND);
    this.#count(force ? 'removeForced' : 'remove', isThere);
  }

  #expectSeen(key: string, read: Parameters<typeof isValue>[0]): void {
    const object = this.#objects.get(key);
    if (object === undefined) expect(read).toBeNull();
    else expect(isValue(read, object)).toBe(true);
  }

  #value(): Value {
    const sizeBelow = this.#pick(sizeMaxima);
    return { seed: this.#nextSeed++, size: 1 + below(this.#random, sizeBelow) };
  }

  #someKeys(): string[] {
    const keys = Array.from({ length: 2 + below(this.#random, 7) }, () => this.#pick(allKeys));
    return [...new Set(keys)];
  }

  #pick<T>(items: readonly T[]): T {
    return items[below(this.#random, items.length)] as T;
  }

  /** Many calls grant a lease, some of them only sometimes; so every call counts as one that does. */
  #leased(keys: readonly string[]): void {
    for (const key of keys) this.#leasedAtMs.set(key, performance.now());
  }

  #count(call: string, found: boolean): void {
    const name = found ? call : `${call}, in vain`;
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
  }
}
