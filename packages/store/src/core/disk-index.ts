import { assert } from '@tsukimi/base';

/** Where one object lies on disk. */
export interface DiskObject {
  readonly key: string;
  readonly bucket: Bucket;
  /** In the bucket's file. */
  readonly offset: number;
  readonly byteCount: number;
  /** CRC-32 of the bytes, over the CRC-32 of the key. */
  readonly crc: number;
}

/** One file with the bytes of several objects. It leaves the disk as a whole. */
export interface Bucket {
  /** Later buckets have higher ids. */
  readonly id: number;
  /** Index of the directory. */
  readonly directory: number;
  /** Of the file. */
  readonly byteCount: number;
  /** Those whose newest bytes are here. */
  readonly objects: Map<string, DiskObject>;
}

export type NewObject = Omit<DiskObject, 'bucket'>;

/** Room for one bucket in a directory, to be filled or given back. */
export interface Room {
  readonly directory: number;
  readonly bucketId: number;
  readonly byteCount: number;
  /** Their files make the room; nobody finds their objects any more. */
  readonly victims: readonly Bucket[];
}

export interface DiskIndexOptions {
  /** The most bytes of buckets in each directory. */
  readonly capacities: readonly number[];
  /** `lru`: what was read longest ago leaves first; `fifo`: what was written first. */
  readonly policy: 'lru' | 'fifo';
}

interface Directory {
  readonly capacity: number;
  /** In the order in which they leave. */
  readonly buckets: Map<number, Bucket>;
  byteCount: number;
  reservedByteCount: number;
  /** What the disk turned out to hold, until it may be tried again. */
  fullAt: { readonly byteCount: number; readonly untilMs: number } | null;
  /** Nothing is written before that. */
  restUntilMs: number;
  failureCount: number;
}

const restMinMs = 1_000;
const restMaxMs = 60_000;
const fullForMs = 10_000;

/** Which objects are on disk and where, where new ones go, and which leave for them. */
export class DiskIndex {
  readonly #policy: DiskIndexOptions['policy'];
  readonly #directories: readonly Directory[];
  readonly #objects = new Map<string, DiskObject>();
  #lastBucketId = 0;

  constructor({ capacities, policy }: DiskIndexOptions) {
    this.#policy = policy;
    this.#directories = capacities.map((capacity) => ({
      capacity,
      buckets: new Map(),
      byteCount: 0,
      reservedByteCount: 0,
      fullAt: null,
      restUntilMs: 0,
      failureCount: 0,
    }));
  }

  get objectCount(): number {
    return this.#objects.size;
  }

  /** Of files, in all directories. */
  get byteCount(): number {
    return this.#directories.reduce((sum, { byteCount }) => sum + byteCount, 0);
  }

  get objects(): IterableIterator<DiskObject> {
    return this.#objects.values();
  }

  find(key: string): DiskObject | null {
    return this.#objects.get(key) ?? null;
  }

  /** The object was read: its bucket leaves later. */
  touch({ bucket }: DiskObject): void {
    const { buckets } = this.#directoryAt(bucket.directory);
    if (this.#policy !== 'lru' || buckets.get(bucket.id) !== bucket) return;
    buckets.delete(bucket.id);
    buckets.set(bucket.id, bucket);
  }

  /** Whether something may be written anywhere. */
  isWritable(nowMs: number): boolean {
    return this.#directories.some(({ restUntilMs }) => restUntilMs <= nowMs);
  }

  /** Room for a file, in the directory that is filled least; null when none has room, or all rest. */
  reserve(byteCount: number, nowMs: number): Room | null {
    let best: Directory | null = null;
    let bestFill = Number.POSITIVE_INFINITY;
    for (const directory of this.#directories) {
      const limit = limitOf(directory, nowMs);
      // What others have reserved cannot be made to leave.
      if (directory.restUntilMs > nowMs || byteCount + directory.reservedByteCount > limit)
        continue;
      const fill = (directory.byteCount + directory.reservedByteCount) / limit;
      if (fill >= bestFill) continue;
      best = directory;
      bestFill = fill;
    }
    if (best === null) return null;
    const victims: Bucket[] = [];
    for (const bucket of best.buckets.values()) {
      const taken = best.byteCount + best.reservedByteCount;
      if (taken + byteCount <= limitOf(best, nowMs)) break;
      this.drop(bucket);
      victims.push(bucket);
    }
    best.reservedByteCount += byteCount;
    this.#lastBucketId += 1;
    const directory = this.#directories.indexOf(best);
    return { directory, bucketId: this.#lastBucketId, byteCount, victims };
  }

  /** The file was written. Its objects are found from now on; the buckets that are empty without them have left. */
  fill(room: Room, objects: readonly NewObject[]): readonly Bucket[] {
    const directory = this.#directoryAt(room.directory);
    directory.reservedByteCount -= room.byteCount;
    directory.failureCount = 0;
    directory.restUntilMs = 0;
    return this.#add(room.directory, room.bucketId, room.byteCount, objects);
  }

  /** The file could not be written: the disk was `full`, or `broken` in another way. */
  giveBack(room: Room, reason: 'full' | 'broken' | 'cancelled', nowMs: number): void {
    const directory = this.#directoryAt(room.directory);
    directory.reservedByteCount -= room.byteCount;
    if (reason !== 'cancelled') this.failed(room.directory, reason, nowMs);
  }

  /** The directory rests, longer each time; a full one takes no more than it has until it may be tried again. */
  failed(at: number, reason: 'full' | 'broken', nowMs: number): void {
    const directory = this.#directoryAt(at);
    const restMs = Math.min(restMaxMs, restMinMs * 2 ** Math.min(16, directory.failureCount));
    directory.failureCount += 1;
    directory.restUntilMs = nowMs + restMs;
    if (reason === 'full') {
      directory.fullAt = { byteCount: directory.byteCount, untilMs: nowMs + fullForMs };
    }
  }

  /** A bucket that an earlier process has written. In the order of their ids. */
  restore(
    directory: number,
    bucketId: number,
    byteCount: number,
    objects: readonly NewObject[],
  ): readonly Bucket[] {
    assert(bucketId > this.#lastBucketId, 'buckets are restored in the order of their ids');
    this.#lastBucketId = bucketId;
    return this.#add(directory, bucketId, byteCount, objects);
  }

  /** What must leave so that each directory holds no more than it may. */
  shrink(): readonly Bucket[] {
    const victims: Bucket[] = [];
    for (const directory of this.#directories) {
      for (const bucket of directory.buckets.values()) {
        if (directory.byteCount <= directory.capacity) break;
        this.drop(bucket);
        victims.push(bucket);
      }
    }
    return victims;
  }

  /** Forgets an object; its bucket when that has no other. Null while it has some. */
  remove(key: string): Bucket | null {
    const object = this.#objects.get(key);
    if (object === undefined) return null;
    this.#objects.delete(key);
    return this.#leave(object);
  }

  /** Forgets a bucket and all objects in it. Harmless when repeated. */
  drop(bucket: Bucket): void {
    const directory = this.#directoryAt(bucket.directory);
    if (directory.buckets.get(bucket.id) !== bucket) return;
    directory.buckets.delete(bucket.id);
    directory.byteCount -= bucket.byteCount;
    for (const key of bucket.objects.keys()) this.#objects.delete(key);
  }

  /** Forgets all; what had been there. */
  clear(): readonly Bucket[] {
    const buckets = this.#directories.flatMap((directory) => [...directory.buckets.values()]);
    for (const bucket of buckets) this.drop(bucket);
    return buckets;
  }

  checkInvariants(): void {
    let objectCount = 0;
    for (const [at, directory] of this.#directories.entries()) {
      let byteCount = 0;
      for (const bucket of directory.buckets.values()) {
        byteCount += bucket.byteCount;
        objectCount += bucket.objects.size;
        assert(bucket.directory === at, 'a bucket lies where it says');
        assert(bucket.objects.size > 0, 'an empty bucket has left');
        assert(bucket.id <= this.#lastBucketId, 'ids grow');
        for (const [key, object] of bucket.objects) {
          assert(this.#objects.get(key) === object, 'an object of a bucket is found');
          assert(object.bucket === bucket, 'an object knows its bucket');
        }
      }
      assert(byteCount === directory.byteCount, 'the bytes of a directory are counted');
      assert(directory.reservedByteCount >= 0, 'room is given back once');
      assert(
        directory.byteCount + directory.reservedByteCount <= directory.capacity,
        'a directory holds no more than it may',
      );
    }
    assert(objectCount === this.#objects.size, 'each object lies in one bucket');
  }

  #add(
    directory: number,
    id: number,
    byteCount: number,
    objects: readonly NewObject[],
  ): readonly Bucket[] {
    const bucket: Bucket = { id, directory, byteCount, objects: new Map() };
    const emptied: Bucket[] = [];
    for (const object of objects) {
      const former = this.#objects.get(object.key);
      const newer: DiskObject = { ...object, bucket };
      this.#objects.set(object.key, newer);
      bucket.objects.set(object.key, newer);
      if (former === undefined || former.bucket === bucket) continue;
      const empty = this.#leave(former);
      if (empty !== null) emptied.push(empty);
    }
    const owner = this.#directoryAt(directory);
    owner.buckets.set(id, bucket);
    owner.byteCount += byteCount;
    return emptied;
  }

  #leave({ key, bucket }: DiskObject): Bucket | null {
    bucket.objects.delete(key);
    if (bucket.objects.size > 0) return null;
    const directory = this.#directoryAt(bucket.directory);
    directory.buckets.delete(bucket.id);
    directory.byteCount -= bucket.byteCount;
    return bucket;
  }

  #directoryAt(index: number): Directory {
    const directory = this.#directories[index];
    assert(directory !== undefined, 'a directory of this index');
    return directory;
  }
}

function limitOf({ capacity, fullAt }: Directory, nowMs: number): number {
  return fullAt !== null && nowMs < fullAt.untilMs
    ? Math.min(capacity, fullAt.byteCount)
    : capacity;
}
