import type { Expected, GetReplicaListResponse, ReplicaDescriptor } from '@tsukimi/wire';
import { answerFor, failed } from './answers.ts';
import type { Counters } from './counters.ts';
import type { HotObjects } from './hot-objects.ts';
import type { LocalDiskTable } from './local-disk-table.ts';
import type { ObjectTable } from './object-table.ts';
import type { Promoter } from './promoter.ts';
import { isReadable } from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';

/** How many keys one answer to a pattern may hold. */
const matchCountMax = 65_536;

export interface ReaderParts {
  readonly segments: SegmentTable;
  readonly disks: LocalDiskTable;
  readonly objects: ObjectTable;
  readonly promoter: Promoter;
  readonly hot: HotObjects;
  readonly counters: Counters;
}

/** The rules of reading: what can be read, where, and that a look-up leases what it finds. */
export class ObjectReader {
  readonly #leaseTtlMs: number;
  readonly #segments: SegmentTable;
  readonly #disks: LocalDiskTable;
  readonly #objects: ObjectTable;
  readonly #promoter: Promoter;
  readonly #hot: HotObjects;
  readonly #counters: Counters;

  constructor(leaseTtlMs: number, parts: ReaderParts) {
    this.#leaseTtlMs = leaseTtlMs;
    this.#segments = parts.segments;
    this.#disks = parts.disks;
    this.#objects = parts.objects;
    this.#promoter = parts.promoter;
    this.#hot = parts.hot;
    this.#counters = parts.counters;
  }

  exist(key: string, tenant: string, nowMs: number): boolean {
    const object = this.#objects.get(key, tenant);
    if (object === undefined || !this.isReadable(object)) return false;
    this.#objects.lease(object, nowMs);
    return true;
  }

  find(key: string, tenant: string, nowMs: number): Expected<GetReplicaListResponse> {
    this.#counters.lookups += 1;
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (!this.isReadable(object)) return failed('REPLICA_IS_NOT_READY');
    this.#objects.lease(object, nowMs);
    const answer = this.#answerFor(object);
    if (answer.replicas[0]?.location.kind === 'memory') {
      this.#counters.memoryHits += 1;
      this.#counters.memoryHitByteCount += object.byteCount;
      this.#hot.hit(object, nowMs);
    } else {
      this.#counters.fileHits += 1;
      this.#counters.fileHitByteCount += object.byteCount;
      this.#promoter.hit(object, nowMs);
    }
    return { ok: answer };
  }

  /** Without a lease and without counting. */
  peek(key: string, tenant: string): Expected<GetReplicaListResponse> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (!this.isReadable(object)) return failed('REPLICA_IS_NOT_READY');
    return { ok: this.#answerFor(object) };
  }

  findAll(
    objects: readonly StoredObject[],
    nowMs: number,
  ): Expected<(readonly [string, readonly ReplicaDescriptor[]])[]> {
    const readable = objects.filter((object) => this.isReadable(object));
    if (readable.length > matchCountMax) return failed('BUFFER_OVERFLOW');
    const found = readable.map((object) => {
      this.#objects.lease(object, nowMs);
      return [object.key, this.#answerFor(object).replicas] as const;
    });
    return { ok: found };
  }

  /** Whether there is a copy that readers may be sent to. */
  isReadable(object: StoredObject): boolean {
    if (this.#objects.isUnfinished(object)) return false;
    return this.#isAllReadable || object.replicas.some(isReadable);
  }

  get #isAllReadable(): boolean {
    return this.#segments.unreadableCount + this.#disks.unreadableCount === 0;
  }

  #answerFor(object: StoredObject): GetReplicaListResponse {
    return answerFor(object, this.#leaseTtlMs, this.#isAllReadable);
  }
}
