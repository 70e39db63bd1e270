import {
  type Expected,
  type ReplicaDescriptor,
  ReplicaType,
  type ReplicateConfig,
  type Uuid,
} from '@tsukimi/wire';
import { describeReplica, done, failed } from './answers.ts';
import type { CoreOptions } from './core-options.ts';
import type { Counters } from './counters.ts';
import type { Evictor } from './evictor.ts';
import type { ObjectTable } from './object-table.ts';
import type { SegmentTable } from './segment-table.ts';
import type { Replica, StoredObject } from './stored-object.ts';
import { type BatchPlace, planWrite, type WritePlan } from './write-rules.ts';

type Started = Expected<readonly ReplicaDescriptor[]>;

/**
 * The rules of writing: who may start, end and revoke a put or an upsert, and what becomes of writes
 * that nobody ends. A method checks in the order in which Mooncake does.
 */
export class ObjectWriter {
  readonly #options: CoreOptions;
  readonly #segments: SegmentTable;
  readonly #objects: ObjectTable;
  readonly #evictor: Evictor;
  readonly #counters: Counters;

  constructor(
    options: CoreOptions,
    segments: SegmentTable,
    objects: ObjectTable,
    evictor: Evictor,
    counters: Counters,
  ) {
    this.#options = options;
    this.#segments = segments;
    this.#objects = objects;
    this.#evictor = evictor;
    this.#counters = counters;
  }

  startPut(
    writer: Uuid,
    key: string,
    byteCount: number,
    config: ReplicateConfig,
    place: BatchPlace,
    nowMs: number,
  ): Started {
    const plan = planWrite(key, byteCount, config, place, this.#options);
    if ('error' in plan) return plan;
    const present = this.#objects.get(key);
    if (present !== undefined && !this.#mayBeTakenOver(present, nowMs)) {
      return failed('OBJECT_ALREADY_EXISTS');
    }
    return this.#start(writer, key, byteCount, plan, present, nowMs);
  }

  startUpsert(
    writer: Uuid,
    key: string,
    byteCount: number,
    config: ReplicateConfig,
    place: BatchPlace,
    nowMs: number,
  ): Started {
    const plan = planWrite(key, byteCount, config, place, this.#options);
    if ('error' in plan) return plan;
    const present = this.#objects.get(key);
    if (present === undefined) return this.#start(writer, key, byteCount, plan, undefined, nowMs);
    if (plan.groupId !== null && plan.groupId !== (present.group?.id ?? '')) {
      return failed('INVALID_PARAMS');
    }
    const kept: WritePlan = {
      ...plan,
      hardPin: present.hardPin,
      softPinTtlMs: plan.softPinTtlMs ?? present.softPinTtlMs,
      groupId: present.group?.id ?? '',
    };
    if (this.#objects.isUnfinished(present) || present.byteCount !== byteCount) {
      return this.#start(writer, key, byteCount, kept, present, nowMs);
    }
    this.#objects.reopen(present, writer, kept.softPinTtlMs ?? 0, nowMs);
    return started(present);
  }

  /** Ends a put or an upsert. */
  end(
    writer: Uuid,
    key: string,
    checksum: bigint | null,
    replicaType: number,
    nowMs: number,
  ): Expected<undefined> {
    const object = this.#objects.get(key);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (object.writer !== writer) return failed('ILLEGAL_CLIENT');
    if (targetsMemory(replicaType) && this.#objects.isUnfinished(object)) {
      this.#objects.complete(object, checksum, nowMs);
    }
    return done;
  }

  /** Takes back a put or an upsert that has not ended. */
  revoke(writer: Uuid, key: string, replicaType: number): Expected<undefined> {
    const object = this.#objects.get(key);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (object.writer !== writer) return failed('ILLEGAL_CLIENT');
    if (!this.#objects.isUnfinished(object)) return failed('INVALID_WRITE');
    if (targetsMemory(replicaType)) this.#objects.erase(object);
    return done;
  }

  /** The writers are known dead: what they had begun is gone. Gives how many writes that were. */
  reclaimFrom(writers: ReadonlySet<Uuid>): number {
    const orphans = [...this.#objects.unfinished()].filter(({ writer }) => writers.has(writer));
    for (const object of orphans) this.#objects.erase(object);
    this.#counters.reclaimed += orphans.length;
    return orphans.length;
  }

  /** Writers that nobody knows have had all their time. Gives how many writes that ended. */
  reclaimOverdue(nowMs: number): number {
    let count = 0;
    for (;;) {
      const object = this.#objects.oldestUnfinished;
      if (object === null || nowMs - object.startedMs < this.#options.putReleaseTimeoutMs) break;
      this.#objects.erase(object);
      count += 1;
    }
    this.#counters.reclaimed += count;
    return count;
  }

  #mayBeTakenOver(object: StoredObject, nowMs: number): boolean {
    return (
      this.#objects.isUnfinished(object) &&
      nowMs - object.startedMs >= this.#options.putDiscardTimeoutMs
    );
  }

  /** Allocates first, so that a write for which there is no room leaves what is `present` alone. */
  #start(
    writer: Uuid,
    key: string,
    byteCount: number,
    plan: WritePlan,
    present: StoredObject | undefined,
    nowMs: number,
  ): Started {
    const replicas = this.#allocate(byteCount, plan, nowMs);
    if (replicas === null) return failed('NO_AVAILABLE_HANDLE');
    // Making room may have evicted the very object that is to be replaced.
    const replaced = this.#objects.get(key);
    if (replaced !== undefined) this.#replace(replaced, nowMs);
    const object = this.#objects.begin(
      {
        key,
        byteCount,
        writer,
        replicas,
        hardPin: plan.hardPin,
        softPinTtlMs: plan.softPinTtlMs ?? present?.softPinTtlMs ?? 0,
        groupId: plan.groupId ?? '',
      },
      nowMs,
    );
    return started(object);
  }

  /** Somebody may still be writing or reading the old bytes: they stay out of use for a while. */
  #replace(object: StoredObject, nowMs: number): void {
    const isUnfinished = this.#objects.isUnfinished(object);
    if (isUnfinished) this.#counters.takenOver += 1;
    this.#objects.eraseLater(
      object,
      (isUnfinished ? object.startedMs : nowMs) + this.#options.putReleaseTimeoutMs,
    );
  }

  #allocate(byteCount: number, plan: WritePlan, nowMs: number): Replica[] | null {
    const attempt = () => {
      if (this.#objects.count >= this.#options.objectCountMax) return null;
      const replicas = this.#segments.allocate(byteCount, plan);
      return replicas.length === 0 ? null : replicas;
    };
    let replicas = attempt();
    if (replicas === null) {
      this.#counters.allocationFailures += 1;
      if (
        this.#segments.openCount >= plan.replicaCount &&
        byteCount <= this.#segments.largestByteCount
      ) {
        replicas = this.#evictor.makeRoomFor(nowMs, attempt);
        if (replicas === null) this.#evictor.request();
      }
    }
    if (replicas !== null && replicas.length < plan.replicaCount) {
      this.#counters.partialAllocations += 1;
    }
    return replicas;
  }
}

function started(object: StoredObject): Started {
  return { ok: object.replicas.map((replica) => describeReplica(replica, false)) };
}

/** We keep copies in memory only; ends and revokes that mean other kinds have nothing to act on. */
function targetsMemory(replicaType: number): boolean {
  return replicaType === ReplicaType.MEMORY || replicaType === ReplicaType.ALL;
}
