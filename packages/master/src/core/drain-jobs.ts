import type { Clock, Random } from '@tsukimi/base';
import { type Expected, makeUuid, SegmentStatus, TaskStatus, type Uuid } from '@tsukimi/wire';
import { done, failed } from './answers.ts';
import type { MemoryReplica } from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';
import { emptiestFor } from './target-choice.ts';
import type { TaskRules } from './task-rules.ts';
import { isFinished } from './task-table.ts';

export const JobStatus = {
  CREATED: 0,
  PLANNING: 1,
  RUNNING: 2,
  SUCCEEDED: 3,
  FAILED: 4,
  CANCELED: 5,
} as const;

export interface DrainRequest {
  readonly segments: readonly string[];
  /** Where to; empty: wherever there is most room. */
  readonly targetSegments: readonly string[];
  /** So many moves at a time. */
  readonly concurrency: number;
}

/** The emptying of some segments, object by object. */
export interface DrainJob {
  readonly id: Uuid;
  readonly request: DrainRequest;
  readonly createdAtMs: number;
  updatedAtMs: number;
  status: number;
  message: string;
  succeededCount: number;
  failedCount: number;
  /** Objects that cannot be moved now: leased, pinned, being written, or without a place to go. */
  blockedCount: number;
  readonly active: Map<Uuid, MemoryReplica>;
  migratedByteCount: number;
  /** How often moving a copy has failed; it is given up at the third time. */
  readonly failures: Map<MemoryReplica, number>;
}

const attemptCountMax = 3;
/** Of the jobs that ended, the last so many can still be asked for. */
const endedCountMax = 1_000;

/** Empties segments before they go, with tasks that their clients do. */
export class DrainJobs {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #segments: SegmentTable;
  readonly #tasks: TaskRules;
  readonly #jobs = new Map<Uuid, DrainJob>();
  readonly #running = new Set<DrainJob>();

  constructor(
    { clock, random }: { readonly clock: Clock; readonly random: Random },
    segments: SegmentTable,
    tasks: TaskRules,
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#segments = segments;
    this.#tasks = tasks;
  }

  get(id: Uuid): DrainJob | undefined {
    return this.#jobs.get(id);
  }

  create(request: DrainRequest): Expected<Uuid> {
    const refusal = this.#refusalOf(request);
    if (refusal !== null) return refusal;
    for (const name of request.segments) this.#mark(name, SegmentStatus.DRAINING);
    const wallMs = this.#wallMs();
    const job: DrainJob = {
      id: makeUuid(this.#random),
      request,
      createdAtMs: wallMs,
      updatedAtMs: wallMs,
      status: JobStatus.CREATED,
      message: 'Drain job created',
      succeededCount: 0,
      failedCount: 0,
      blockedCount: 0,
      active: new Map(),
      migratedByteCount: 0,
      failures: new Map(),
    };
    this.#jobs.set(job.id, job);
    this.#running.add(job);
    return { ok: job.id };
  }

  /** Only between moves: those under way are awaited. */
  cancel(id: Uuid): Expected<undefined> {
    const job = this.#jobs.get(id);
    if (job === undefined) return failed('JOB_NOT_FOUND');
    if (!this.#running.has(job) || job.active.size > 0) {
      return failed('UNAVAILABLE_IN_CURRENT_STATUS');
    }
    this.#end(job, JobStatus.CANCELED, 'Drain job canceled');
    return done;
  }

  /** To be called about twice a second. */
  step(): void {
    for (const job of [...this.#running]) {
      this.#refresh(job);
      if (job.active.size === 0 && this.#endIfDone(job)) continue;
      this.#schedule(job);
    }
  }

  #refusalOf({ segments, targetSegments, concurrency }: DrainRequest) {
    if (segments.length === 0 || concurrency === 0) return failed('INVALID_PARAMS');
    if (new Set(segments).size !== segments.length) return failed('INVALID_PARAMS');
    for (const name of segments) {
      const mounted = this.#segments.named(name);
      if (mounted.length === 0) return failed('SEGMENT_NOT_FOUND');
      if (mounted.some(({ status }) => status !== SegmentStatus.OK)) {
        return failed('UNAVAILABLE_IN_CURRENT_STATUS');
      }
    }
    for (const name of targetSegments) {
      if (segments.includes(name)) return failed('INVALID_PARAMS');
      if (this.#segments.named(name).length === 0) return failed('SEGMENT_NOT_FOUND');
      if (!this.#segments.isOpen(name)) return failed('UNAVAILABLE_IN_CURRENT_STATUS');
    }
    return null;
  }

  /** Looks what became of the moves under way. */
  #refresh(job: DrainJob): void {
    for (const [id, replica] of job.active) {
      const task = this.#tasks.get(id);
      if (task !== undefined && !isFinished(task.status)) continue;
      job.active.delete(id);
      if (task?.status === TaskStatus.SUCCESS) {
        job.succeededCount += 1;
        job.migratedByteCount += replica.block.byteCount;
      } else this.#failed(job, replica);
    }
  }

  #schedule(job: DrainJob): void {
    const moving = new Set(job.active.values());
    job.blockedCount = 0;
    for (const replica of this.#remaining(job)) {
      const { object } = replica;
      if (object === null || moving.has(replica) || isGivenUp(job, replica)) continue;
      const target = this.#isMovable(object)
        ? emptiestFor(object, this.#segments, job.request.targetSegments)
        : null;
      if (target === null) {
        job.blockedCount += 1;
        continue;
      }
      if (job.active.size >= job.request.concurrency) continue;
      const source = replica.segment.descriptor.name;
      const created = this.#tasks.createMove(object.key, object.tenant.id, source, target.name);
      if ('ok' in created) job.active.set(created.ok, replica);
      else job.blockedCount += 1;
    }
    job.status = JobStatus.RUNNING;
    job.updatedAtMs = this.#wallMs();
    job.message = 'Drain job running';
  }

  #isMovable(object: StoredObject): boolean {
    return (
      !object.hardPin &&
      object.replication === null &&
      !object.isLeased(this.#clock.monotonicMs()) &&
      object.replicas.every(({ isComplete }) => isComplete)
    );
  }

  #endIfDone(job: DrainJob): boolean {
    const remaining = [...this.#remaining(job)];
    const left = new Set(remaining.map(({ segment }) => segment.descriptor.name));
    for (const name of job.request.segments) {
      if (!left.has(name)) this.#mark(name, SegmentStatus.DRAINED);
    }
    if (remaining.length === 0) {
      this.#end(job, JobStatus.SUCCEEDED, 'Drain job finished successfully');
      return true;
    }
    if (!remaining.every((replica) => isGivenUp(job, replica))) return false;
    this.#end(job, JobStatus.FAILED, 'Drain job failed: unrecoverable units remain');
    return true;
  }

  /** What still lies in the segments; bytes set aside are no object's. */
  *#remaining({ request }: DrainJob): IterableIterator<MemoryReplica> {
    for (const name of request.segments) {
      for (const segment of this.#segments.named(name)) {
        for (const replica of segment.allocator.holders()) {
          if (replica.object !== null) yield replica;
        }
      }
    }
  }

  #failed(job: DrainJob, replica: MemoryReplica): void {
    job.failedCount += 1;
    job.failures.set(replica, (job.failures.get(replica) ?? 0) + 1);
  }

  /** Whatever is not drained takes objects again. */
  #end(job: DrainJob, status: number, message: string): void {
    job.status = status;
    job.message = message;
    job.updatedAtMs = this.#wallMs();
    job.failures.clear();
    if (status !== JobStatus.SUCCEEDED) {
      for (const name of job.request.segments) this.#mark(name, SegmentStatus.OK);
    }
    this.#running.delete(job);
    for (const [id, other] of this.#jobs) {
      if (this.#jobs.size - this.#running.size <= endedCountMax) break;
      if (!this.#running.has(other)) this.#jobs.delete(id);
    }
  }

  #mark(name: string, status: Parameters<SegmentTable['mark']>[1]): void {
    for (const segment of this.#segments.named(name)) this.#segments.mark(segment, status);
  }

  #wallMs(): number {
    return Math.floor(this.#clock.wallMs());
  }
}

function isGivenUp({ failures }: DrainJob, replica: MemoryReplica): boolean {
  return (failures.get(replica) ?? 0) >= attemptCountMax;
}
