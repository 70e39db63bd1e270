import type { CancelSignal } from '@tsukimi/base';
import {
  ErrorCode,
  type Expected,
  type ReplicaDescriptor,
  type ReplicateConfig,
} from '@tsukimi/wire';
import type { BufferPool, PooledBuffer } from './buffer-pool.ts';
import type { Gate } from './gate.ts';
import type { Lookups } from './lookups.ts';
import type { MasterLink } from './master-link.ts';
import type { ObjectPuts, PutDone } from './object-puts.ts';
import type { ObjectReader } from './object-reader.ts';
import { byteCountOf } from './replicas.ts';
import { replicateConfigOf } from './replicate-config.ts';
import type { Reservation } from './reservation.ts';
import type {
  ByteRange,
  CallOptions,
  Outcome,
  ReadOutcome,
  StoredObject,
  Value,
  WriteOptions,
} from './stored-object.ts';
import type { WriteKind } from './write-calls.ts';
import { entryOf, type WriteEntry } from './write-entry.ts';

export interface ObjectsOptions {
  readonly gate: Gate;
  readonly link: MasterLink;
  readonly lookups: Lookups;
  readonly puts: ObjectPuts;
  readonly reader: ObjectReader;
  readonly staging: BufferPool;
  readonly defaultConfig: ReplicateConfig;
  readonly timeouts: {
    readonly lookupMs: number;
    readonly transferMs: number;
    readonly controlMs: number;
  };
}

export interface GetOptions extends CallOptions {
  /** A larger object is not read: `BUFFER_OVERFLOW`. 1 GiB. */
  readonly byteCountMax?: number;
}

export interface RemoveOptions extends CallOptions {
  /** Removes what others hold leases on too. */
  readonly force?: boolean;
}

const keyByteCountMax = 4_096;
const objectByteCountMax = 2 ** 30;
/** Objects and ranges of one call that are read at once. */
const parallelReadCountMax = 16;

/**
 * All that can be done with objects, with Mooncake's semantics and error numbers. Nothing rejects.
 *
 * Where the original reports success for a put that found another writer at work, this waits for that
 * writer: a put that ends well means that a complete object was there.
 */
export class Objects {
  readonly #options: ObjectsOptions;

  constructor(options: ObjectsOptions) {
    this.#options = options;
  }

  /**
   * Stores a value unless the key has one: `present` then. Waits for another writer of the key, and for
   * room, as long as its limit of time allows. `TRANSFER_FAIL` when no segment took it. The bytes are
   * the caller's again when this settles. An empty value is refused, as the original does.
   */
  async put(key: string, value: Value, options: WriteOptions = {}): Promise<Outcome<PutDone>> {
    return onlyOne(await this.#write('put', [key], [value], options));
  }

  putBatch(
    keys: readonly string[],
    values: readonly Value[],
    options: WriteOptions = {},
  ): Promise<Outcome<PutDone>[]> {
    return this.#write('put', keys, values, options);
  }

  /** Stores a value in place of what the key has. */
  async upsert(key: string, value: Value, options: WriteOptions = {}): Promise<Outcome<PutDone>> {
    return onlyOne(await this.#write('upsert', [key], [value], options));
  }

  upsertBatch(
    keys: readonly string[],
    values: readonly Value[],
    options: WriteOptions = {},
  ): Promise<Outcome<PutDone>[]> {
    return this.#write('upsert', keys, values, options);
  }

  /** Room for an object that is to be filled part by part. */
  reserve(
    key: string,
    byteCount: number,
    options: WriteOptions = {},
  ): Promise<Outcome<Reservation>> {
    const { defaultConfig, gate, puts, timeouts } = this.#options;
    const { groupIds = null, ...wishes } = options.config ?? {};
    const config = { ...replicateConfigOf(wishes, defaultConfig), groupIds };
    return gate.one('put', timeouts.controlMs, options, async (signal) =>
      isKey(key) && Number.isSafeInteger(byteCount) && byteCount > 0
        ? puts.reserve(key, byteCount, config, signal)
        : { error: ErrorCode.INVALID_PARAMS },
    );
  }

  /** A copy in fresh memory. */
  async get(key: string, options: GetOptions = {}): Promise<Outcome<Buffer>> {
    return onlyOne(await this.getBatch([key], options));
  }

  getBatch(keys: readonly string[], options: GetOptions = {}): Promise<Outcome<Buffer>[]> {
    const { byteCountMax = objectByteCountMax } = options;
    return this.#read(keys, options, async ({ byteCount }, read) => {
      if (byteCount > byteCountMax) return { error: ErrorCode.BUFFER_OVERFLOW };
      const into = Buffer.allocUnsafe(byteCount);
      return read(into, into);
    });
  }

  /** A copy in memory on loan, which must be released. */
  async getBuffer(key: string, options: CallOptions = {}): Promise<Outcome<PooledBuffer>> {
    return onlyOne(await this.getBufferBatch([key], options));
  }

  /** Only as many as the pool has room for at once: `NO_AVAILABLE_HANDLE` for the others. */
  getBufferBatch(
    keys: readonly string[],
    options: CallOptions = {},
  ): Promise<Outcome<PooledBuffer>[]> {
    return this.#read(keys, options, async ({ byteCount }, read) => {
      const buffer = this.#options.staging.tryTake(byteCount);
      if (buffer === null) return { error: ErrorCode.NO_AVAILABLE_HANDLE };
      const outcome = await read(buffer.bytes, buffer);
      if ('error' in outcome) buffer.release();
      return outcome;
    });
  }

  /** Copies an object to the beginning of `into`; how long it is. `INVALID_PARAMS` where it does not fit. */
  async getInto(key: string, into: Buffer, options: CallOptions = {}): Promise<Outcome<number>> {
    return onlyOne(await this.getIntoBatch([{ key, into }], options));
  }

  async getIntoBatch(
    entries: readonly { readonly key: string; readonly into: Buffer }[],
    options: CallOptions = {},
  ): Promise<Outcome<number>[]> {
    const keys = entries.map(({ key }) => key);
    return this.#read(keys, options, async ({ byteCount }, read, index) => {
      const { into } = entries[index] as { readonly into: Buffer };
      if (into.length < byteCount) return { error: ErrorCode.INVALID_PARAMS };
      return read(into.subarray(0, byteCount), byteCount);
    });
  }

  /** Where objects are, with a lease on each, to be read with `readRanges` without asking again. */
  find(keys: readonly string[], options: CallOptions = {}): Promise<Outcome<StoredObject>[]> {
    const { gate, lookups, timeouts } = this.#options;
    return gate.each('find', timeouts.lookupMs, keys, options, (batch, signal) =>
      this.#withKeys(batch, (known) => lookups.find(known, signal)),
    );
  }

  /** Parts of an object that was found; see `getRanges`. */
  readRanges(
    object: StoredObject,
    ranges: readonly ByteRange[],
    options: CallOptions = {},
  ): Promise<Outcome<number>> {
    const { gate, timeouts } = this.#options;
    return gate.one('get', timeouts.transferMs, options, (signal) =>
      this.#readRanges(object, ranges, signal),
    );
  }

  /**
   * Parts of objects, one look-up for all: how many bytes were read of each object, or the first error.
   * `INVALID_PARAMS` for a range that goes beyond its object. Parts are not checked against checksums.
   */
  getRanges(
    entries: readonly { readonly key: string; readonly ranges: readonly ByteRange[] }[],
    options: CallOptions = {},
  ): Promise<Outcome<number>[]> {
    const keys = entries.map(({ key }) => key);
    return this.#lookUpAndRead(keys, options, async (object, index, signal) => {
      const { ranges } = entries[index] as { readonly ranges: readonly ByteRange[] };
      return this.#readRanges(object, ranges, signal);
    });
  }

  /** Leases the object, as every look-up does. */
  async size(key: string, options: CallOptions = {}): Promise<Outcome<number>> {
    const replicas = await this.replicas(key, options);
    if ('error' in replicas) return replicas;
    const [first] = replicas.ok;
    return first === undefined ? { error: ErrorCode.INVALID_REPLICA } : { ok: byteCountOf(first) };
  }

  async exist(key: string, options: CallOptions = {}): Promise<Outcome<boolean>> {
    return onlyOne(await this.existBatch([key], options));
  }

  existBatch(keys: readonly string[], options: CallOptions = {}): Promise<Outcome<boolean>[]> {
    const { gate, lookups, timeouts } = this.#options;
    return gate.each('exist', timeouts.lookupMs, keys, options, (batch, signal) =>
      this.#withKeys(batch, (known) => lookups.exist(known, signal)),
    );
  }

  async remove(key: string, options: RemoveOptions = {}): Promise<Outcome<undefined>> {
    return onlyOne(await this.removeBatch([key], options));
  }

  removeBatch(keys: readonly string[], options: RemoveOptions = {}): Promise<Outcome<undefined>[]> {
    const { gate, link, timeouts } = this.#options;
    const { force = false } = options;
    return gate.each('remove', timeouts.controlMs, keys, options, (batch, signal) =>
      this.#withKeys(batch, (known) =>
        link.askEach('BatchRemove', known.length, [known, force, link.tenantId], { signal }),
      ),
    );
  }

  /** Removes all keys in which an ECMAScript pattern is found; how many there were. */
  removeByRegex(pattern: string, options: RemoveOptions = {}): Promise<Outcome<number>> {
    const { gate, link, timeouts } = this.#options;
    const { force = false } = options;
    return gate.one('remove', timeouts.controlMs, options, (signal) =>
      link.ask('RemoveByRegex', [pattern, force, link.tenantId], { signal }),
    );
  }

  /** How many objects were removed: those that nobody leases, or all. */
  removeAll(options: RemoveOptions = {}): Promise<Outcome<number>> {
    const { gate, link, timeouts } = this.#options;
    const { force = false } = options;
    return gate.one('remove', timeouts.controlMs, options, async (signal) => {
      const count = await link.askPlain('RemoveAll', [force, link.tenantId], { signal });
      // A negative count is an error that found no other place.
      return 'ok' in count && count.ok < 0 ? { error: count.ok } : count;
    });
  }

  /** All copies of an object, also those that are not in memory. */
  async replicas(
    key: string,
    options: CallOptions = {},
  ): Promise<Outcome<readonly ReplicaDescriptor[]>> {
    return onlyOne(await this.replicasBatch([key], options));
  }

  replicasBatch(
    keys: readonly string[],
    options: CallOptions = {},
  ): Promise<Outcome<readonly ReplicaDescriptor[]>[]> {
    const { gate, link, timeouts } = this.#options;
    return gate.each('replicas', timeouts.lookupMs, keys, options, (batch, signal) =>
      this.#withKeys(batch, async (known) => {
        const args = [known, link.tenantId] as const;
        const answers = await link.askEach('BatchGetReplicaList', known.length, [...args], {
          signal,
        });
        return answers.map((answer) => ('error' in answer ? answer : { ok: answer.ok.replicas }));
      }),
    );
  }

  /** The copies of all keys in which an ECMAScript pattern is found. */
  replicasByRegex(
    pattern: string,
    options: CallOptions = {},
  ): Promise<Outcome<readonly (readonly [string, readonly ReplicaDescriptor[]])[]>> {
    const { gate, link, timeouts } = this.#options;
    return gate.one('replicas', timeouts.controlMs, options, (signal) =>
      link.ask('GetReplicaListByRegex', [pattern, link.tenantId], { signal }),
    );
  }

  /** Drops copies that nobody leases, on one segment or, with an empty name, on all; the keys that had some. */
  clearReplicas(
    keys: readonly string[],
    segmentName: string,
    options: CallOptions = {},
  ): Promise<Outcome<readonly string[]>> {
    const { gate, link, timeouts } = this.#options;
    return gate.one('clear', timeouts.controlMs, options, (signal) =>
      link.ask('BatchReplicaClear', [keys, link.clientId, segmentName, link.tenantId], { signal }),
    );
  }

  async #write(
    kind: WriteKind,
    keys: readonly string[],
    values: readonly Value[],
    options: WriteOptions,
  ): Promise<Outcome<PutDone>[]> {
    const { defaultConfig, gate, puts, timeouts } = this.#options;
    const wishes = options.config ?? {};
    const groupIds = wishes.groupIds ?? null;
    const entries = keys.map((key, index): WriteEntry | null => {
      const value = values[index] ?? [];
      const parts = Buffer.isBuffer(value) ? [value] : value.filter(({ length }) => length > 0);
      const entry = entryOf(key, parts, groupIds?.[index]);
      return isKey(key) && entry.byteCount > 0 ? entry : null;
    });
    const isAligned =
      values.length === keys.length && (groupIds === null || groupIds.length === keys.length);
    if (!isAligned || wishes.preferAllocInSameNode === true) {
      return keys.map(() => ({ error: ErrorCode.INVALID_PARAMS }));
    }
    const config =
      options.config === undefined ? defaultConfig : replicateConfigOf(wishes, defaultConfig);
    return gate.each(kind, timeouts.transferMs, entries, options, (batch, signal) =>
      onlyPresent(batch, (present) => puts.put(kind, present, config, signal)),
    );
  }

  /** Finds, then lets `act` read each whole object where it wants it. */
  #read<T>(
    keys: readonly string[],
    options: CallOptions,
    act: (
      object: StoredObject,
      read: (into: Buffer, done: T) => Promise<Expected<T>>,
      index: number,
    ) => Promise<Expected<T>>,
  ): Promise<Outcome<T>[]> {
    return this.#lookUpAndRead(keys, options, (object, index, signal) =>
      act(
        object,
        async (into, done) => {
          const outcome = await this.#options.reader.read(object, into, signal);
          return outcome === 'read' ? { ok: done } : { error: errorOf(outcome, signal) };
        },
        index,
      ),
    );
  }

  #lookUpAndRead<T>(
    keys: readonly string[],
    options: CallOptions,
    act: (object: StoredObject, index: number, signal: CancelSignal) => Promise<Expected<T>>,
  ): Promise<Outcome<T>[]> {
    const { gate, lookups, timeouts } = this.#options;
    const indices = [...keys.keys()];
    return gate.each('get', timeouts.transferMs, indices, options, async (batch, signal) => {
      const found = await this.#withKeys(
        batch.map((index) => keys[index] as string),
        (known) => lookups.find(known, signal),
      );
      return inParallel(found, parallelReadCountMax, async (object, at) =>
        'error' in object ? object : act(object.ok, batch[at] as number, signal),
      );
    });
  }

  async #readRanges(
    object: StoredObject,
    ranges: readonly ByteRange[],
    signal: CancelSignal,
  ): Promise<Expected<number>> {
    const fits = ranges.every(
      ({ offset, into }) =>
        Number.isSafeInteger(offset) && offset >= 0 && offset + into.length <= object.byteCount,
    );
    if (!fits) return { error: ErrorCode.INVALID_PARAMS };
    const outcomes = await inParallel(ranges, parallelReadCountMax, (range) =>
      this.#options.reader.readRange(object, range, signal),
    );
    const failed = outcomes.find((outcome) => outcome !== 'read');
    if (failed !== undefined) return { error: errorOf(failed, signal) };
    return { ok: ranges.reduce((sum, { into }) => sum + into.length, 0) };
  }

  /** `INVALID_PARAMS` for what is no key; the others are asked for. */
  #withKeys<T>(
    keys: readonly string[],
    ask: (keys: readonly string[]) => Promise<readonly Expected<T>[]>,
  ): Promise<readonly Expected<T>[]> {
    if (keys.every(isKey)) return ask(keys);
    return onlyPresent(
      keys.map((key) => (isKey(key) ? key : null)),
      ask,
    );
  }
}

function isKey(key: string): boolean {
  return key.length > 0 && Buffer.byteLength(key) <= keyByteCountMax;
}

/** `INVALID_PARAMS` in the places of nulls; `act` on the others. */
async function onlyPresent<I, T>(
  items: readonly (I | null)[],
  act: (present: readonly I[]) => Promise<readonly Expected<T>[]>,
): Promise<readonly Expected<T>[]> {
  const present = items.filter((item) => item !== null);
  const outcomes = present.length > 0 ? await act(present) : [];
  let next = 0;
  return items.map((item) =>
    item === null ? { error: ErrorCode.INVALID_PARAMS } : (outcomes[next++] as Expected<T>),
  );
}

function onlyOne<T>(outcomes: readonly Outcome<T>[]): Outcome<T> {
  return outcomes[0] as Outcome<T>;
}

function errorOf(outcome: Exclude<ReadOutcome, 'read'>, signal: CancelSignal): number {
  if (outcome === 'lease-expired') return ErrorCode.LEASE_EXPIRED;
  if (outcome === 'damaged') return ErrorCode.CHECKSUM_MISMATCH;
  return signal.aborted ? ErrorCode.RPC_TIMEOUT : ErrorCode.TRANSFER_FAIL;
}

/** `act` on all of them, at most `countMax` at a time. */
async function inParallel<I, T>(
  items: readonly I[],
  countMax: number,
  act: (item: I, index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const goOn = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await act(items[index] as I, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(countMax, items.length) }, goOn));
  return results;
}
