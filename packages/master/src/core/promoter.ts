import { assert } from '@tsukimi/base';
import type { Expected, ReplicaDescriptor, Uuid } from '@tsukimi/wire';
import { describeReplica, done, failed } from './answers.ts';
import type { CoreOptions } from './core-options.ts';
import type { Counters } from './counters.ts';
import { type Due, DueHeap } from './due-heap.ts';
import { FrequencySketch } from './frequency-sketch.ts';
import type { LocalDisk, LocalDiskTable } from './local-disk-table.ts';
import type { ObjectTable } from './object-table.ts';
import { type DiskTask, taskOf } from './offloader.ts';
import type { LocalDiskReplica, MemoryReplica } from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';

/** An object on its way from a disk back to memory. Due when its client has had all its time. */
export interface Promotion extends Due {
  readonly object: StoredObject;
  readonly source: LocalDiskReplica;
  /** Where its client writes it; null before that client asked where. */
  staged: MemoryReplica | null;
}

/** An object that would be promoted if there were room. */
interface Candidate {
  lastSeenMs: number;
  retryAfterMs: number;
  retryCount: number;
}

type Verdict = 'queued' | 'later' | 'no';

const candidateCountMax = 50_000;
const candidateTtlMs = 60_000;
const candidateRetryMax = 8;
const retryBatchCount = 128;
const backoffMinMs = 10;
const backoffMaxMs = 1_000;

/**
 * Brings objects that lie on a client's disk alone back to memory once they are read often enough: their
 * client is told, asks for memory, writes, and says so. Only then can the copy be read.
 */
export class Promoter {
  readonly #options: CoreOptions;
  readonly #disks: LocalDiskTable;
  readonly #segments: SegmentTable;
  readonly #objects: ObjectTable;
  readonly #counters: Counters;
  readonly #sketch = new FrequencySketch();
  readonly #byObject = new Map<StoredObject, Promotion>();
  readonly #running = new DueHeap<Promotion>();
  readonly #candidates = new Map<StoredObject, Candidate>();

  constructor(
    options: CoreOptions,
    disks: LocalDiskTable,
    segments: SegmentTable,
    objects: ObjectTable,
    counters: Counters,
  ) {
    this.#options = options;
    this.#disks = disks;
    this.#segments = segments;
    this.#objects = objects;
    this.#counters = counters;
    objects.onForgotten.push((object) => this.#forgotten(object));
  }

  get inFlightCount(): number {
    return this.#byObject.size;
  }

  has(object: StoredObject): boolean {
    return this.#byObject.has(object);
  }

  /** An object was read from a file. */
  hit(object: StoredObject, nowMs: number): void {
    if (!this.#options.promotionOnHit) return;
    const source = object.replicas.find(({ kind }) => kind === 'localDisk');
    if (source === undefined || object.replicas.some(({ kind }) => kind === 'memory')) return;
    if (this.#judge(object, nowMs) === 'later') this.#remember(object, nowMs);
    else this.#candidates.delete(object);
  }

  /** Somebody is going to read an object that lies in files: it is brought back however often it was read. */
  request(object: StoredObject, nowMs: number): Expected<undefined> {
    if (!this.#options.promotionOnHit) return failed('NOT_SUPPORTED');
    if (this.#byObject.has(object)) return done;
    const verdict = this.#admit(object, nowMs);
    if (verdict === 'queued') return done;
    return failed(verdict === 'later' ? 'NO_AVAILABLE_HANDLE' : 'NOT_SUPPORTED');
  }

  /** What a client is to bring back now. */
  take(owner: Uuid): Expected<DiskTask[]> {
    const disk = this.#disks.lent(owner);
    if (disk === undefined) return failed('SEGMENT_NOT_FOUND');
    const tasks: DiskTask[] = [];
    for (const promotion of disk.promotions) {
      if (tasks.length >= this.#options.promotionMaxPerHeartbeat) break;
      disk.promotions.delete(promotion);
      tasks.push({ ...taskOf(promotion.object), size: promotion.source.byteCount });
    }
    return { ok: tasks };
  }

  /** Memory for a client to write the object to. */
  start(
    client: Uuid,
    object: StoredObject,
    byteCount: number,
    preferredSegments: readonly string[],
    nowMs: number,
  ): Expected<{ readonly memoryDescriptor: ReplicaDescriptor }> {
    if (this.#objects.isBeingWritten(object)) return failed('REPLICA_IS_NOT_READY');
    const promotion = this.#byObject.get(object);
    if (promotion === undefined) return failed('REPLICA_IS_NOT_READY');
    const { source } = promotion;
    if (source.disk.owner !== client || source.byteCount !== byteCount) {
      return failed('INVALID_PARAMS');
    }
    if (object.replicas.some(({ kind }) => kind === 'memory') || promotion.staged !== null) {
      return failed('REPLICA_IS_NOT_READY');
    }
    const placement = { replicaCount: 1, preferredSegments, hostId: '' };
    const [staged] = this.#segments.allocate(byteCount, placement);
    if (staged === undefined) return failed('NO_AVAILABLE_HANDLE');
    promotion.staged = staged;
    this.#objects.addReplica(object, staged, nowMs);
    this.#running.remove(promotion);
    promotion.dueMs = nowMs + this.#options.putReleaseTimeoutMs;
    this.#running.insert(promotion);
    return { ok: { memoryDescriptor: describeReplica(staged) } };
  }

  /** The client has written the object: it can be read from memory again. */
  succeed(client: Uuid, object: StoredObject, nowMs: number): Expected<undefined> {
    const promotion = this.#byObject.get(object);
    if (promotion === undefined || promotion.staged === null) {
      return failed('REPLICA_IS_NOT_READY');
    }
    if (promotion.source.disk.owner !== client) return failed('INVALID_PARAMS');
    const { staged } = promotion;
    this.#discard(promotion);
    if (staged.object !== object) {
      this.#counters.promotions.cancelled += 1;
      return failed('REPLICA_IS_NOT_READY');
    }
    staged.isComplete = true;
    this.#objects.changed(object, nowMs);
    this.#objects.order.touch(object, nowMs);
    this.#counters.promotions.completed += 1;
    this.#counters.promotions.completedByteCount += staged.block.byteCount;
    return done;
  }

  /** The client could not: the memory is free again. */
  fail(client: Uuid, object: StoredObject, nowMs: number): Expected<undefined> {
    const promotion = this.#byObject.get(object);
    if (promotion === undefined) return done;
    if (promotion.source.disk.owner !== client) return failed('INVALID_PARAMS');
    this.#giveUp(promotion, nowMs);
    this.#counters.promotions.failed += 1;
    return done;
  }

  /** A disk is gone: nobody brings anything back from there. */
  lose(disk: LocalDisk, nowMs: number): void {
    for (const promotion of [...this.#byObject.values()]) {
      if (promotion.source.disk !== disk) continue;
      this.#giveUp(promotion, nowMs);
      this.#counters.promotions.cancelled += 1;
    }
  }

  /** Clients that had all their time are not waited for. */
  expire(nowMs: number): void {
    for (;;) {
      const first = this.#running.first;
      if (first === null || first.dueMs > nowMs) break;
      this.#giveUp(first, nowMs);
      this.#counters.promotions.expired += 1;
    }
  }

  /** Looks again at objects for which there was no room, a few at a time. */
  retry(nowMs: number): void {
    let leftCount = retryBatchCount;
    for (const [object, candidate] of [...this.#candidates]) {
      if (leftCount === 0) return;
      const isOld = nowMs - candidate.lastSeenMs >= candidateTtlMs;
      if (isOld || candidate.retryCount >= candidateRetryMax) {
        this.#candidates.delete(object);
        if (candidate.retryCount === 0) this.#counters.candidates.expiredUnevaluated += 1;
        else this.#counters.candidates.expiredEvaluated += 1;
        continue;
      }
      if (candidate.retryAfterMs > nowMs) continue;
      leftCount -= 1;
      const verdict = this.#judge(object, nowMs);
      if (verdict !== 'later') this.#candidates.delete(object);
      if (verdict === 'queued') this.#counters.candidates.admitted += 1;
      if (verdict !== 'later') continue;
      this.#counters.candidates.admissionRejected += 1;
      candidate.retryCount += 1;
      const backoffMs = backoffMinMs * 2 ** (candidate.retryCount - 1);
      candidate.retryAfterMs = nowMs + Math.min(backoffMs, backoffMaxMs);
    }
  }

  checkInvariants(): void {
    this.#running.checkInvariants();
    assert(this.#running.length === this.#byObject.size, 'each promotion has its time');
    for (const [object, { source, staged }] of this.#byObject) {
      assert(object.list !== null, 'what is promoted exists');
      assert(source.busyCount > 0, 'what is promoted is read');
      assert(staged === null || !staged.isComplete, 'what is staged is not to be read');
    }
    for (const disk of this.#disks.all()) {
      for (const promotion of disk.promotions) {
        assert(this.#byObject.get(promotion.object) === promotion, 'clients know what is begun');
      }
    }
    for (const object of this.#candidates.keys()) {
      assert(object.list !== null, 'a candidate exists');
    }
  }

  #judge(object: StoredObject, nowMs: number): Verdict {
    const frequency = this.#sketch.increment(`${object.tenant.id}\n${object.key}`);
    if (frequency < this.#options.promotionAdmissionThreshold) {
      this.#counters.promotions.rejectedFrequency += 1;
      return 'no';
    }
    return this.#admit(object, nowMs);
  }

  #admit(object: StoredObject, nowMs: number): Verdict {
    const { promotions } = this.#counters;
    const { usedByteCount, capacityByteCount } = this.#segments;
    if (
      usedByteCount > 0 &&
      usedByteCount / capacityByteCount >= this.#options.evictionHighWatermark
    ) {
      promotions.rejectedWatermark += 1;
      return 'later';
    }
    const source = object.replicas.find(({ kind }) => kind === 'localDisk');
    if (source?.kind !== 'localDisk' || this.#byObject.has(object)) return 'no';
    if (this.#objects.isBeingWritten(object)) return 'no';
    if (object.replicas.some(({ kind }) => kind === 'memory')) return 'no';
    if (this.#byObject.size >= this.#options.promotionQueueLimit) {
      promotions.rejectedCap += 1;
      return 'later';
    }
    this.#begin(object, source, nowMs);
    promotions.admitted += 1;
    return 'queued';
  }

  #begin(object: StoredObject, source: LocalDiskReplica, nowMs: number): void {
    const dueMs = nowMs + this.#options.putReleaseTimeoutMs;
    const promotion: Promotion = { object, source, staged: null, dueMs, heapIndex: -1 };
    source.busyCount += 1;
    source.disk.promotions.add(promotion);
    this.#byObject.set(object, promotion);
    this.#running.insert(promotion);
  }

  #remember(object: StoredObject, nowMs: number): void {
    if (!this.#candidates.has(object)) {
      if (this.#candidates.size >= candidateCountMax) {
        this.#counters.candidates.droppedLimit += 1;
        return;
      }
      this.#counters.candidates.recorded += 1;
    }
    this.#candidates.set(object, { lastSeenMs: nowMs, retryAfterMs: nowMs, retryCount: 0 });
  }

  #giveUp(promotion: Promotion, nowMs: number): void {
    const { object, staged } = promotion;
    this.#discard(promotion);
    if (staged !== null && staged.object === object) this.#objects.drop(object, [staged], nowMs);
  }

  #discard(promotion: Promotion): void {
    this.#byObject.delete(promotion.object);
    this.#running.remove(promotion);
    promotion.source.disk.promotions.delete(promotion);
    promotion.source.busyCount -= 1;
  }

  #forgotten(object: StoredObject): void {
    this.#candidates.delete(object);
    const promotion = this.#byObject.get(object);
    if (promotion === undefined) return;
    this.#discard(promotion);
    this.#counters.promotions.cancelled += 1;
  }
}
