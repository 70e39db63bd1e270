import { type Clock, deadline, type Logger, sleep } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import {
  ErrorCode,
  type Expected,
  errorName,
  type ReplicaDescriptor,
  type TaskAssignment,
  TaskStatus,
} from '@tsukimi/wire';
import { type CopyOrder, type MoveOrder, parseTask } from './core/task-payload.ts';
import type { MasterLink } from './master-link.ts';
import { memoryOf } from './replicas.ts';

export interface TaskRunnerOptions {
  readonly engine: TransferEngine;
  readonly link: MasterLink;
  /** Only clients that lend a segment have something to copy from. */
  readonly isLending: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The transfer between the master's start and its end, which either ends or revokes it. */
interface Replication {
  readonly source: ReplicaDescriptor;
  readonly targets: readonly ReplicaDescriptor[];
  end(): Promise<Expected<undefined>>;
  revoke(): Promise<Expected<undefined>>;
}

const fetchPeriodMs = 1_000;
const fetchCountMax = 16;
const callLimit = { timeoutMs: 5_000 };
const retryBaseMs = 50;

/** Copies and moves objects out of this client's memory to other segments, as the master asks. */
export class TaskRunner {
  readonly #options: TaskRunnerOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: TaskRunnerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Cuts short what is under way, and revokes it. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, isLending, link } = this.#options;
    const { signal } = this.#stopping;
    for (;;) {
      await sleep(clock, fetchPeriodMs, signal);
      if (signal.aborted) return;
      if (!isLending()) continue;
      using limit = deadline(clock, callLimit.timeoutMs, 'FetchTasks', signal);
      const tasks = await link.ask('FetchTasks', [link.clientId, fetchCountMax], limit);
      if ('error' in tasks) continue;
      for (const task of tasks.ok) {
        const done = await this.#perform(task);
        await this.#report(task, 'error' in done ? done.error : ErrorCode.OK);
      }
    }
  }

  /** Tried again only where there was no room, as often as the master allows. */
  async #perform(task: TaskAssignment): Promise<Expected<undefined>> {
    const { clock } = this.#options;
    const { signal } = this.#stopping;
    const order = parseTask(task.type, task.payload);
    if (order === null) return { error: ErrorCode.INVALID_PARAMS };
    for (let attempt = 1; ; attempt++) {
      const done = order.kind === 'copy' ? await this.#copy(order) : await this.#move(order);
      const isFull = 'error' in done && done.error === ErrorCode.NO_AVAILABLE_HANDLE;
      if (!isFull || attempt > task.maxRetryAttempts || signal.aborted) return done;
      await sleep(clock, retryBaseMs * attempt, signal);
    }
  }

  async #report({ id }: TaskAssignment, error: number): Promise<void> {
    const { link, logger } = this.#options;
    const isDone = error === ErrorCode.OK;
    const request = {
      id,
      status: isDone ? TaskStatus.SUCCESS : TaskStatus.FAILED,
      message: isDone ? 'done' : errorName(error),
    };
    if (isDone) logger.info('store.task_done', { id });
    else logger.warn('store.task_failed', { id, error: errorName(error) });
    await link.ask('MarkTaskToComplete', [link.clientId, request], callLimit);
  }

  async #copy(order: CopyOrder): Promise<Expected<undefined>> {
    const { link } = this.#options;
    const { key, tenantId, source, targets, dynamic } = order;
    const object = [link.clientId, key, tenantId] as const;
    if (dynamic === null) {
      const args = [...object, source, targets] as const;
      const start = await link.ask('CopyStart', [...args], callLimit);
      if ('error' in start) return start;
      return this.#replicate({
        ...start.ok,
        end: () => link.ask('CopyEnd', [...object], callLimit),
        revoke: () => link.ask('CopyRevoke', [...object], callLimit),
      });
    }
    const lease = [dynamic.leaseId, dynamic.epoch] as const;
    const args = [...object, source, targets, ...lease] as const;
    const start = await link.ask('DynamicReplicaCopyStart', [...args], callLimit);
    if ('error' in start) {
      // Somebody else was faster; there is nothing left to do.
      const isThere = start.error === ErrorCode.OBJECT_ALREADY_EXISTS;
      return isThere ? { ok: undefined } : start;
    }
    const ends = [...object, ...lease] as const;
    return this.#replicate({
      ...start.ok,
      end: () => link.ask('DynamicReplicaCopyEnd', [...ends], callLimit),
      revoke: () => link.ask('DynamicReplicaCopyRevoke', [...ends], callLimit),
    });
  }

  async #move({ key, tenantId, source, target }: MoveOrder): Promise<Expected<undefined>> {
    const { link } = this.#options;
    const object = [link.clientId, key, tenantId] as const;
    const start = await link.ask('MoveStart', [...object, source, target], callLimit);
    if ('error' in start) return start;
    return this.#replicate({
      source: start.ok.source,
      targets: start.ok.target === null ? [] : [start.ok.target],
      end: () => link.ask('MoveEnd', [...object], callLimit),
      revoke: () => link.ask('MoveRevoke', [...object], callLimit),
    });
  }

  /** No targets are left to write to where the master found copies there. */
  async #replicate(replication: Replication): Promise<Expected<undefined>> {
    const { source, targets } = replication;
    const failure = targets.length > 0 ? await this.#transfer(source, targets) : null;
    if (failure === null) {
      const ended = await replication.end();
      if ('ok' in ended || targets.length === 0) return ended;
      await replication.revoke();
      return ended;
    }
    await replication.revoke();
    return { error: failure };
  }

  /** What went wrong; null when all targets have the bytes. */
  async #transfer(
    source: ReplicaDescriptor,
    targets: readonly ReplicaDescriptor[],
  ): Promise<number | null> {
    const { engine, logger } = this.#options;
    const { signal } = this.#stopping;
    const from = memoryOf([source]);
    const to = memoryOf(targets);
    const [origin] = from?.replicas ?? [];
    if (from === null || to?.byteCount !== from.byteCount) return ErrorCode.INVALID_PARAMS;
    if (origin?.endpoint !== engine.name) return ErrorCode.REPLICA_NOT_IN_LOCAL_MEMORY;
    try {
      const bytes = await engine.mapped(engine.name, origin.address, from.byteCount, { signal });
      if (bytes === null) return ErrorCode.REPLICA_NOT_IN_LOCAL_MEMORY;
      for (const { endpoint, address } of to.replicas) {
        await engine.write(endpoint, address, bytes, { signal });
      }
      return null;
    } catch (error) {
      logger.warn('store.task_transfer_failed', { reason: String(error) });
      return ErrorCode.TRANSFER_FAIL;
    }
  }
}
