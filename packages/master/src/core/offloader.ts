import { assert } from '@tsukimi/base';
import { type Expected, type Uuid } from '@tsukimi/wire';
import { failed } from './answers.ts';
import type { CoreOptions } from './core-options.ts';
import { type Due, DueHeap } from './due-heap.ts';
import type { LocalDisk, LocalDiskTable } from './local-disk-table.ts';
import type { ObjectTable } from './object-table.ts';
import { isEvictable, type MemoryReplica } from './replica.ts';
import type { StoredObject } from './stored-object.ts';

/** An object on its way to a disk. Due when its client has had all the time a transfer may take. */
export interface Offload extends Due {
  readonly object: StoredObject;
  readonly source: MemoryReplica;
  /** Those whose clients were, or will be, told. */
  readonly disks: readonly LocalDisk[];
  /** So much memory is to go as soon as the disk has the bytes: 0 when it is to stay. */
  readonly leavingByteCount: number;
}

/** One object that a client is to write to its disk, or to bring back from it. */
export interface DiskTask {
  readonly tenantId: string;
  readonly key: string;
  readonly size: number;
}

/**
 * Brings objects to the disks of the clients in whose memory they lie: all of them as they are written,
 * or those that are to be evicted. What is being read for a disk stays in memory until its client says
 * that it is done, or has had all its time.
 */
export class Offloader {
  readonly #options: CoreOptions;
  readonly #disks: LocalDiskTable;
  readonly #objects: ObjectTable;
  readonly #byObject = new Map<StoredObject, Offload>();
  readonly #running = new DueHeap<Offload>();
  #leavingByteCount = 0;

  constructor(options: CoreOptions, disks: LocalDiskTable, objects: ObjectTable) {
    this.#options = options;
    this.#disks = disks;
    this.#objects = objects;
    objects.onForgotten.push((object) => this.#discard(object));
  }

  /** Bytes of memory that will be free when disks have them. */
  get leavingByteCount(): number {
    return this.#leavingByteCount;
  }

  has(object: StoredObject): boolean {
    return this.#byObject.has(object);
  }

  /** An object was written: its clients are told to write it to their disks. */
  offer(object: StoredObject, nowMs: number): void {
    if (!this.#options.enableOffload || this.#options.offloadOnEvict) return;
    if (this.#byObject.has(object)) return;
    const sources = object.replicas.filter(
      (replica): replica is MemoryReplica => replica.kind === 'memory' && replica.isComplete,
    );
    const told = sources.filter((source) => this.#mailboxOf(source) !== null);
    const [first] = told;
    if (first !== undefined) this.#begin(object, first, told, false, nowMs);
  }

  /** An object is to be evicted: true when one of its copies is on the way to a disk from now on. */
  offerBeforeEviction(object: StoredObject, nowMs: number): boolean {
    for (const source of object.replicas) {
      if (!isEvictable(source) || this.#mailboxOf(source) === null) continue;
      this.#begin(object, source, [source], true, nowMs);
      return true;
    }
    return false;
  }

  /** What a client is to write now. One that does not want to is rid of what waited for it. */
  take(owner: Uuid, isOffloading: boolean, nowMs: number): Expected<DiskTask[]> {
    const disk = this.#disks.lent(owner);
    if (disk === undefined) return failed('SEGMENT_NOT_FOUND');
    disk.isOffloading = isOffloading;
    const offloads = [...disk.offloads];
    disk.offloads.clear();
    if (isOffloading) return { ok: offloads.map(({ object }) => taskOf(object)) };
    for (const { object } of offloads) this.end(object, nowMs);
    return { ok: [] };
  }

  /** A client is done with an object, or was never told; its memory may be written and evicted again. */
  end(object: StoredObject, nowMs: number): boolean {
    const offload = this.#byObject.get(object);
    if (offload === undefined) return false;
    this.#discard(object);
    this.#objects.becameIdle(object, nowMs);
    return true;
  }

  /** Takes back what no client was told yet; false when one is at it. */
  cancelQueued(object: StoredObject, nowMs: number): boolean {
    const offload = this.#byObject.get(object);
    if (offload === undefined) return true;
    if (!offload.disks.every(({ offloads }) => offloads.has(offload))) return false;
    return this.end(object, nowMs);
  }

  /** A disk is gone: nobody writes there any more. */
  lose(disk: LocalDisk, nowMs: number): void {
    for (const { object, disks } of [...this.#byObject.values()]) {
      if (disks.every((other) => other === disk)) this.end(object, nowMs);
    }
  }

  /** Clients that had all their time are not waited for. */
  expire(nowMs: number): void {
    for (;;) {
      const first = this.#running.first;
      if (first === null || first.dueMs > nowMs) return;
      this.end(first.object, nowMs);
    }
  }

  checkInvariants(): void {
    this.#running.checkInvariants();
    assert(this.#running.length === this.#byObject.size, 'each offload has its time');
    let leavingByteCount = 0;
    for (const [object, offload] of this.#byObject) {
      assert(object.list !== null, 'what is offloaded exists');
      assert(offload.source.busyCount > 0, 'what is offloaded stays in memory');
      leavingByteCount += offload.leavingByteCount;
    }
    assert(leavingByteCount === this.#leavingByteCount, 'what leaves is counted');
    for (const disk of this.#disks.all()) {
      for (const offload of disk.offloads) {
        assert(this.#byObject.get(offload.object) === offload, 'a client is told of what is begun');
      }
    }
  }

  /** The disk of the client in whose memory a copy lies, if that client takes more. */
  #mailboxOf({ segment }: MemoryReplica): LocalDisk | null {
    const disk = this.#disks.get(segment.owner);
    if (disk === undefined || !disk.isOffloading) return null;
    return disk.offloads.size < this.#options.offloadingQueueLimit ? disk : null;
  }

  #begin(
    object: StoredObject,
    source: MemoryReplica,
    told: readonly MemoryReplica[],
    isForEviction: boolean,
    nowMs: number,
  ): void {
    const disks = new Set<LocalDisk>();
    for (const { segment } of told) disks.add(this.#disks.get(segment.owner) as LocalDisk);
    const offload: Offload = {
      object,
      source,
      disks: [...disks],
      leavingByteCount: isForEviction ? object.byteCount : 0,
      dueMs: nowMs + this.#options.putReleaseTimeoutMs,
      heapIndex: -1,
    };
    for (const disk of disks) disk.offloads.add(offload);
    source.busyCount += 1;
    this.#leavingByteCount += offload.leavingByteCount;
    this.#byObject.set(object, offload);
    this.#running.insert(offload);
  }

  #discard(object: StoredObject): void {
    const offload = this.#byObject.get(object);
    if (offload === undefined) return;
    const { source, disks, leavingByteCount } = offload;
    this.#byObject.delete(object);
    this.#running.remove(offload);
    for (const disk of disks) disk.offloads.delete(offload);
    source.busyCount -= 1;
    this.#leavingByteCount -= leavingByteCount;
  }
}

export function taskOf({ tenant, key, byteCount }: StoredObject): DiskTask {
  return { tenantId: tenant.id, key, size: byteCount };
}
