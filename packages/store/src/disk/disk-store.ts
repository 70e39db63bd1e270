import { join } from 'node:path';
import { type Clock, Fault, type Logger } from '@tsukimi/base';
import { type Bucket, DiskIndex, type DiskObject, type NewObject } from '../core/disk-index.ts';
import {
  bucketByteCount,
  bucketFileName,
  headByteCount,
  objectCrc,
  parseBucketFileName,
  readBucketTable,
  tableByteCountOf,
  writeBucketHead,
} from './bucket-format.ts';
import { DiskCounters } from './disk-counters.ts';
import type { DiskFiles, OpenFile } from './disk-files.ts';
import { IoQueue } from './io-queue.ts';

export interface DiskStoreOptions {
  readonly directories: readonly string[];
  /** Bytes for objects in each; null for nine tenths of its file system. */
  readonly capacity: number | null;
  readonly policy: 'lru' | 'fifo';
  readonly files: DiskFiles;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told before the files of objects go that had to make room. */
  readonly onEvicted: (keys: readonly string[]) => Promise<void>;
}

export interface ObjectBytes {
  readonly key: string;
  /** Not written to until it is stored. */
  readonly bytes: Buffer;
}

/** `no-room`: all disks are full of others, failing or too small. */
export type DiskWriteOutcome = readonly DiskObject[] | 'no-room' | 'failed';
export type DiskReadOutcome = 'read' | 'missing' | 'damaged' | 'failed';

const readLimits = { runningCountMax: 4, waitingCountMax: 4_096 };
const writeLimits = { runningCountMax: 2, waitingCountMax: 256 };

/**
 * Objects in the files of several directories. Nothing rejects but `open`: a disk that is full or fails is
 * left alone for a while and tried again, and meanwhile nothing is stored there.
 */
export class DiskStore {
  readonly counters = new DiskCounters();
  readonly #options: DiskStoreOptions;
  readonly #reads = new IoQueue(readLimits);
  readonly #writes = new IoQueue(writeLimits);
  #index = new DiskIndex({ capacities: [], policy: 'lru' });
  #capacities: readonly number[] = [];

  constructor(options: DiskStoreOptions) {
    this.#options = options;
  }

  get objectCount(): number {
    return this.#index.objectCount;
  }

  /** Of files. */
  get byteCount(): number {
    return this.#index.byteCount;
  }

  get capacity(): number {
    return this.#capacities.reduce((sum, capacity) => sum + capacity, 0);
  }

  /** Whether something may be written anywhere now. */
  get isWritable(): boolean {
    return this.#index.isWritable(this.#options.clock.monotonicMs());
  }

  get objects(): IterableIterator<DiskObject> {
    return this.#index.objects;
  }

  /** Finds what earlier processes left, and removes what is torn. Rejects for a directory that cannot be used. */
  async open(): Promise<void> {
    const { directories, files, policy } = this.#options;
    const capacities: number[] = [];
    const found: { directory: number; id: number; byteCount: number; objects: NewObject[] }[] = [];
    for (const [directory, path] of directories.entries()) {
      try {
        await files.claim(path);
        const byteCount = this.#options.capacity ?? (await files.capacity(path)) * 0.9;
        capacities.push(Math.floor(byteCount));
        for (const entry of await files.list(path)) {
          const name = parseBucketFileName(entry.name);
          if (name === null) continue;
          const objects = name.isWhole
            ? await this.#readTable(join(path, entry.name), name.id, entry.byteCount)
            : null;
          if (objects === null) await this.#removeTorn(join(path, entry.name));
          else found.push({ directory, id: name.id, byteCount: entry.byteCount, objects });
        }
      } catch (error) {
        if (error instanceof Fault) throw error;
        const reason = `--disk-dir: ${path} cannot be used: ${(error as Error).message}`;
        throw new Fault('MISCONFIGURED', reason, { cause: error });
      }
    }
    this.#capacities = capacities;
    this.#index = new DiskIndex({ capacities, policy });
    const emptied: Bucket[] = [];
    let lastId = 0;
    for (const each of found.toSorted((left, right) => left.id - right.id)) {
      // Ids are unique in a process; two directories of different processes may share one.
      const id = Math.max(each.id, lastId + 1);
      if (id !== each.id) {
        emptied.push({ ...each, objects: new Map() });
        continue;
      }
      lastId = id;
      emptied.push(...this.#index.restore(each.directory, id, each.byteCount, each.objects));
    }
    await this.#removeFiles([...emptied, ...this.#index.shrink()]);
    this.counters.restoredObjects = this.#index.objectCount;
  }

  close(): Promise<void> {
    return this.#options.files.close();
  }

  find(key: string): DiskObject | null {
    return this.#index.find(key);
  }

  /** Stores objects in one file, each in place of what its key had. */
  async write(objects: readonly ObjectBytes[]): Promise<DiskWriteOutcome> {
    try {
      return await this.#writes.run(() => this.#write(objects));
    } catch (error) {
      if (!Fault.has(error, 'OVERLOADED')) throw error;
      this.counters.refusedObjects += objects.length;
      return 'no-room';
    }
  }

  /** `into` has the object's length. After anything but `read` its content means nothing. */
  async read(key: string, into: Buffer): Promise<DiskReadOutcome> {
    const object = this.#index.find(key);
    if (object === null || object.byteCount !== into.length) return 'missing';
    this.#index.touch(object);
    try {
      return await this.#reads.run(() => this.#read(object, into));
    } catch (error) {
      if (!Fault.has(error, 'OVERLOADED')) throw error;
      return 'failed';
    }
  }

  /** Forgets an object. Its bytes leave the disk with the last of its file. */
  async remove(key: string): Promise<void> {
    const emptied = this.#index.remove(key);
    if (emptied !== null) await this.#removeFiles([emptied]);
  }

  async clear(): Promise<void> {
    await this.#removeFiles(this.#index.clear());
  }

  checkInvariants(): void {
    this.#index.checkInvariants();
  }

  async #write(objects: readonly ObjectBytes[]): Promise<DiskWriteOutcome> {
    const { clock, files, logger, onEvicted } = this.#options;
    const sizes = objects.map(({ key, bytes }) => ({ key, byteCount: bytes.length }));
    const room = this.#index.reserve(bucketByteCount(sizes), clock.monotonicMs());
    if (room === null) {
      this.counters.refusedObjects += objects.length;
      return 'no-room';
    }
    if (room.victims.length > 0) {
      const keys = room.victims.flatMap((bucket) => [...bucket.objects.keys()]);
      this.counters.evictedObjects += keys.length;
      await onEvicted(keys);
      await this.#removeFiles(room.victims);
    }
    const directory = this.#options.directories[room.directory] as string;
    const temporary = join(directory, bucketFileName(room.bucketId, 'tmp'));
    try {
      const crcs: number[] = [];
      for (const { key, bytes } of objects) crcs.push(await objectCrc(key, bytes));
      const head = writeBucketHead(
        room.bucketId,
        sizes.map((size, index) => ({ ...size, crc: crcs[index] as number })),
      );
      await files.write(temporary, [head.bytes, ...objects.map(({ bytes }) => bytes)]);
      await files.rename(temporary, join(directory, bucketFileName(room.bucketId)));
      const emptied = this.#index.fill(room, head.objects);
      await this.#removeFiles(emptied);
      this.counters.writtenObjects += objects.length;
      this.counters.writtenBytes += head.byteCount;
      return head.objects.flatMap(({ key }) => this.#index.find(key) ?? []);
    } catch (error) {
      const isFull = ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');
      await files.remove(temporary).catch(() => {});
      this.#index.giveBack(room, isFull ? 'full' : 'broken', clock.monotonicMs());
      this.counters.writeFailures += 1;
      this.counters.refusedObjects += objects.length;
      logger.warn(isFull ? 'disk.full' : 'disk.write_failed', { directory, reason: String(error) });
      return 'failed';
    }
  }

  async #read(object: DiskObject, into: Buffer): Promise<DiskReadOutcome> {
    const { bucket, key } = object;
    let file: OpenFile | null = null;
    try {
      file = await this.#options.files.open(this.#pathOf(bucket));
      const isWhole = await file.read(into, object.offset);
      if (isWhole && (await objectCrc(key, into)) === object.crc) {
        this.counters.readObjects += 1;
        this.counters.readBytes += into.length;
        return 'read';
      }
      this.counters.damagedObjects += 1;
      this.#options.logger.warn('disk.damaged', { file: this.#pathOf(bucket) });
      return 'damaged';
    } catch (error) {
      // Evicted in this moment, which is no failure of the disk.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'missing';
      this.counters.readFailures += 1;
      this.#options.logger.warn('disk.read_failed', {
        file: this.#pathOf(bucket),
        reason: String(error),
      });
      return 'failed';
    } finally {
      await file?.close().catch(() => {});
    }
  }

  async #readTable(path: string, id: number, byteCount: number): Promise<NewObject[] | null> {
    if (byteCount < headByteCount) return null;
    const file = await this.#options.files.open(path);
    try {
      const head = Buffer.alloc(headByteCount);
      if (!(await file.read(head, 0))) return null;
      const tableByteCount = tableByteCountOf(head, id, byteCount);
      if (tableByteCount === null) return null;
      const table = Buffer.alloc(tableByteCount);
      if (!(await file.read(table, headByteCount))) return null;
      const objects = readBucketTable(head, table, byteCount);
      return objects === null ? null : [...objects];
    } finally {
      await file.close();
    }
  }

  async #removeTorn(path: string): Promise<void> {
    this.counters.tornFiles += 1;
    this.#options.logger.warn('disk.torn_file_removed', { file: path });
    await this.#options.files.remove(path);
  }

  async #removeFiles(buckets: readonly Bucket[]): Promise<void> {
    for (const bucket of buckets) {
      const file = this.#pathOf(bucket);
      await this.#options.files.remove(file).catch((error: unknown) => {
        // It is found as a stranger at the next start at the latest.
        this.#options.logger.warn('disk.remove_failed', { file, reason: String(error) });
      });
    }
  }

  #pathOf({ directory, id }: Bucket): string {
    return join(this.#options.directories[directory] as string, bucketFileName(id));
  }
}
