import {
  type Expected,
  type ReplicaDescriptor,
  ReplicaType,
  type ReplicateConfig,
  type Uuid,
} from '@tsukimi/wire';
import type { AbsentWriters } from './absent-writers.ts';
import { describeReplica, done, failed } from './answers.ts';
import { abandonedRestMs, type CoreOptions } from './core-options.ts';
import type { Counters } from './counters.ts';
import type { Evictor } from './evictor.ts';
import type { ObjectReader } from './object-reader.ts';
import type { ObjectTable } from './object-table.ts';
import type { Offloader } from './offloader.ts';
import type { Promoter } from './promoter.ts';
import { isOfType, type MemoryReplica, type Replica } from './replica.ts';
import type { SegmentRules } from './segment-rules.ts';
import type { SegmentTable } from './segment-table.ts';
import { sharedFilePath } from './shared-file-path.ts';
import type { StoredObject } from './stored-object.ts';
import type { TenantQuotas } from './tenant-quotas.ts';
import { type BatchPlace, planWrite, type WritePlan } from './write-rules.ts';

type Started = Expected<readonly ReplicaDescriptor[]>;

export interface WriterParts {
  readonly mounts: SegmentRules;
  readonly absent: AbsentWriters;
  readonly segments: SegmentTable;
  readonly objects: ObjectTable;
  readonly reader: ObjectReader;
  readonly evictor: Evictor;
  readonly offloader: Offloader;
  readonly promoter: Promoter;
  readonly counters: Counters;
  /** Null when tenants are one. */
  readonly quotas: TenantQuotas | null;
}

/**
 * The rules of writing: who may start, end and revoke a put or an upsert, and what becomes of writes
 * that nobody ends. A method checks in the order in which Mooncake does.
 */
export class ObjectWriter {
  readonly #options: CoreOptions;
  readonly #mounts: SegmentRules;
  readonly #absent: AbsentWriters;
  readonly #segments: SegmentTable;
  readonly #objects: ObjectTable;
  readonly #reader: ObjectReader;
  readonly #evictor: Evictor;
  readonly #offloader: Offloader;
  readonly #promoter: Promoter;
  readonly #counters: Counters;
  readonly #quotas: TenantQuotas | null;

  constructor(options: CoreOptions, parts: WriterParts) {
    this.#options = options;
    this.#mounts = parts.mounts;
    this.#absent = parts.absent;
    this.#segments = parts.segments;
    this.#objects = parts.objects;
    this.#reader = parts.reader;
    this.#evictor = parts.evictor;
    this.#offloader = parts.offloader;
    this.#promoter = parts.promoter;
    this.#counters = parts.counters;
    this.#quotas = parts.quotas;
  }

  startPut(
    writer: Uuid,
    key: string,
    byteCount: number,
    config: ReplicateConfig,
    tenant: string,
    place: BatchPlace,
    nowMs: number,
  ): Started {
    const plan = planWrite(key, byteCount, config, place, this.#options);
    if ('error' in plan) return plan;
    if (this.#quotas?.isRegistered(tenant) === false) return failed('TENANT_NOT_REGISTERED');
    const present = this.#objects.get(key, tenant);
    if (present !== undefined && !this.#mayBeTakenOver(present, nowMs)) {
      return failed('OBJECT_ALREADY_EXISTS');
    }
    return this.#start(writer, key, byteCount, plan, tenant, present, nowMs);
  }

  startUpsert(
    writer: Uuid,
    key: string,
    byteCount: number,
    config: ReplicateConfig,
    tenant: string,
    place: BatchPlace,
    nowMs: number,
  ): Started {
    const plan = planWrite(key, byteCount, config, place, this.#options);
    if ('error' in plan) return plan;
    if (this.#quotas?.isRegistered(tenant) === false) return failed('TENANT_NOT_REGISTERED');
    const present = this.#objects.get(key, tenant);
    if (present === undefined) {
      return this.#start(writer, key, byteCount, plan, tenant, undefined, nowMs);
    }
    if (plan.groupId !== null && plan.groupId !== (present.group?.id ?? '')) {
      return failed('INVALID_PARAMS');
    }
    const kept: WritePlan = {
      ...plan,
      hardPin: present.hardPin,
      softPinTtlMs: plan.softPinTtlMs ?? present.softPinTtlMs,
      groupId: present.group?.id ?? '',
    };
    if (this.#promoter.has(present) || !this.#offloader.cancelQueued(present, nowMs)) {
      return failed('OBJECT_HAS_REPLICATION_TASK');
    }
    if (present.trailing !== null) {
      this.#counters.takenOver += 1;
      this.#objects.abandonWrite(present, nowMs + this.#options.putReleaseTimeoutMs, nowMs);
    }
    if (present.replication !== null) return failed('OBJECT_HAS_REPLICATION_TASK');
    if (isBusy(present)) return failed('OBJECT_REPLICA_BUSY');
    if (this.#objects.isUnfinished(present) || present.byteCount !== byteCount) {
      return this.#start(writer, key, byteCount, kept, tenant, present, nowMs);
    }
    this.#objects.reopen(present, writer, kept.softPinTtlMs ?? 0, nowMs);
    return started(present);
  }

  /** Ends a put or an upsert for the replicas of a type. */
  end(
    writer: Uuid,
    key: string,
    checksum: bigint | null,
    replicaType: number,
    tenant: string,
    nowMs: number,
  ): Expected<undefined> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (object.writer !== writer) return failed('ILLEGAL_CLIENT');
    if (!this.#objects.isBeingWritten(object)) {
      const ended = object.replicas.filter((replica) => isOfType(replica, replicaType));
      const isEnded = ended.length > 0 && ended.every(({ isComplete }) => isComplete);
      return isEnded ? done : failed('INVALID_WRITE');
    }
    // Whoever ends a file says nothing of the bytes in memory.
    if (checksum !== null || endsMemory(replicaType)) object.checksum = checksum;
    if (endsMemory(replicaType)) this.#counters.valueSizes.observe(object.byteCount);
    this.#objects.complete(object, replicaType, nowMs);
    this.#offloader.offer(object, nowMs);
    return done;
  }

  /**
   * Takes back a put or an upsert that has not ended for the replicas of a type. Most who do could not
   * reach the memory. What they sent may still lie in a socket of a holder that hangs, and land when it goes on:
   * the bytes rest until such a holder would have been given up.
   */
  revoke(
    writer: Uuid,
    key: string,
    replicaType: number,
    tenant: string,
    nowMs: number,
  ): Expected<undefined> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (object.writer !== writer) return failed('ILLEGAL_CLIENT');
    if (!this.#objects.isBeingWritten(object)) return failed('INVALID_WRITE');
    const revoked = object.replicas.filter((replica) => isOfType(replica, replicaType));
    if (revoked.some(({ isComplete }) => isComplete)) return failed('INVALID_WRITE');
    const dueMs = nowMs + abandonedRestMs(this.#options);
    this.#objects.dropLater(object, revoked, dueMs, nowMs);
    for (const replica of revoked) {
      if (replica.kind === 'memory') this.#mounts.report(writer, replica.segment.owner, nowMs);
    }
    return done;
  }

  /** The writers are known dead: what they had begun is gone. Gives how many writes that were. */
  reclaimFrom(writers: ReadonlySet<Uuid>, nowMs: number): number {
    const orphans = [...this.#objects.beingWritten()].filter(({ writer }) => writers.has(writer));
    for (const object of orphans) this.#reclaim(object, nowMs);
    return orphans.length;
  }

  /**
   * The writers have been away for long, and may still write somewhere: their keys are free, the bytes
   * stay out of use. Gives how many writes that were.
   */
  abandonFrom(writers: ReadonlySet<Uuid>, nowMs: number): number {
    const orphans = [...this.#objects.beingWritten()].filter(({ writer }) => writers.has(writer));
    for (const object of orphans) {
      this.#counters.reclaimed += 1;
      const dueMs = object.startedMs + this.#options.putReleaseTimeoutMs;
      this.#objects.abandonWrite(object, dueMs, nowMs);
    }
    return orphans.length;
  }

  /** Writers that nobody knows have had all their time. Gives how many writes that ended. */
  reclaimOverdue(nowMs: number): number {
    for (let count = 0; ; count += 1) {
      const oldest = this.#objects.oldestUnfinished;
      const isOverdue =
        oldest !== null && nowMs - oldest.startedMs >= this.#options.putReleaseTimeoutMs;
      const object = isOverdue ? oldest : this.#objects.overdueTrailing(nowMs);
      if (object === null) return count;
      this.#reclaim(object, nowMs);
    }
  }

  /** Nobody writes any more: the bytes are free at once. */
  #reclaim(object: StoredObject, nowMs: number): void {
    this.#counters.reclaimed += 1;
    const begun = object.replicas.filter(({ isComplete }) => !isComplete);
    this.#objects.drop(object, begun, nowMs);
  }

  /** A key whose writer is gone or has had its time, or whose object nobody can reach now. */
  #mayBeTakenOver(object: StoredObject, nowMs: number): boolean {
    if (!this.#objects.isUnfinished(object)) {
      return !this.#reader.isReadable(object) && !isBusy(object) && object.replication === null;
    }
    return (
      this.#absent.has(object.writer) ||
      nowMs - object.startedMs >= this.#options.putDiscardTimeoutMs
    );
  }

  /** Allocates first, so that a write for which there is no room leaves what is `present` alone. */
  #start(
    writer: Uuid,
    key: string,
    byteCount: number,
    plan: WritePlan,
    tenant: string,
    present: StoredObject | undefined,
    nowMs: number,
  ): Started {
    if (!this.#hasQuota(tenant, byteCount * plan.replicaCount, nowMs)) {
      return failed('TENANT_QUOTA_EXCEEDED');
    }
    const memory = this.#allocate(byteCount, plan, nowMs);
    if (memory === null) return failed('NO_AVAILABLE_HANDLE');
    const { sharedDirectory } = this.#options;
    const replicas: Replica[] = memory;
    if (sharedDirectory !== '') replicas.push(this.#fileOf(key, byteCount));
    // Making room may have evicted the very object that is to be replaced.
    const replaced = this.#objects.get(key, tenant);
    if (replaced !== undefined) this.#replace(replaced, nowMs);
    const object = this.#objects.begin(
      {
        tenant,
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

  /** Whether a tenant may have so many bytes more, after making room among its own if need be. */
  #hasQuota(tenant: string, byteCount: number, nowMs: number): boolean {
    if (this.#quotas === null) return true;
    const deficit = this.#quotas.deficit(tenant, byteCount);
    if (deficit === 0) return true;
    const own = this.#objects.tenants.get(tenant);
    if (own === undefined || !Number.isFinite(deficit)) return false;
    return this.#evictor.makeRoomIn(own, deficit, nowMs) >= deficit;
  }

  #fileOf(key: string, byteCount: number): Replica {
    return {
      kind: 'disk',
      id: this.#segments.nextReplicaId(),
      filePath: sharedFilePath(this.#options.sharedDirectory, key),
      byteCount,
      object: null,
      isComplete: false,
      busyCount: 0,
    };
  }

  #allocate(byteCount: number, plan: WritePlan, nowMs: number): MemoryReplica[] | null {
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
  return { ok: object.replicas.map(describeReplica) };
}

function isBusy({ replicas }: StoredObject): boolean {
  return replicas.some(({ busyCount }) => busyCount > 0);
}

function endsMemory(replicaType: number): boolean {
  return replicaType === ReplicaType.MEMORY || replicaType === ReplicaType.ALL;
}
