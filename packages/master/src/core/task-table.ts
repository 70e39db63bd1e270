import { assert } from '@tsukimi/base';
import { type Expected, TaskStatus, type Uuid } from '@tsukimi/wire';
import { done, failed } from './answers.ts';

/** Work that a client is to do: copy or move one object. */
export interface Task {
  readonly id: Uuid;
  /** One of `TaskType`. */
  readonly type: number;
  /** JSON. */
  readonly payload: string;
  readonly client: Uuid;
  readonly createdAtMs: number;
  updatedAtMs: number;
  /** One of `TaskStatus`. */
  status: number;
  message: string;
}

export interface TaskLimits {
  readonly taskPendingCountMax: number;
  readonly taskProcessingCountMax: number;
  /** Of those that ended, the last so many can still be asked for. */
  readonly taskFinishedCountMax: number;
  /** 0: no limit, here and below. */
  readonly taskPendingTimeoutMs: number;
  readonly taskProcessingTimeoutMs: number;
}

/** All tasks by id. Times are of the wall clock, since clients are told of them. */
export class TaskTable {
  readonly #limits: TaskLimits;
  readonly #byId = new Map<Uuid, Task>();
  /** In the order they came. */
  readonly #pending = new Map<Uuid, Set<Task>>();
  readonly #processing = new Set<Task>();
  readonly #finished = new Set<Task>();
  #pendingCount = 0;

  constructor(limits: TaskLimits) {
    this.#limits = limits;
  }

  get(id: Uuid): Task | undefined {
    return this.#byId.get(id);
  }

  submit(task: Pick<Task, 'id' | 'type' | 'payload' | 'client'>, wallMs: number): Expected<Uuid> {
    if (this.#pendingCount >= this.#limits.taskPendingCountMax) {
      return failed('TASK_PENDING_LIMIT_EXCEEDED');
    }
    const pending: Task = {
      ...task,
      createdAtMs: wallMs,
      updatedAtMs: wallMs,
      status: TaskStatus.PENDING,
      message: '',
    };
    this.#byId.set(pending.id, pending);
    const queue = this.#pending.get(pending.client);
    if (queue === undefined) this.#pending.set(pending.client, new Set([pending]));
    else queue.add(pending);
    this.#pendingCount += 1;
    return { ok: pending.id };
  }

  /** Hands up to `count` tasks to their client. */
  fetch(client: Uuid, count: number, wallMs: number): Task[] {
    const fetched: Task[] = [];
    for (const task of this.#pending.get(client) ?? []) {
      if (fetched.length >= count) break;
      if (this.#processing.size >= this.#limits.taskProcessingCountMax) break;
      this.#unqueue(task);
      task.status = TaskStatus.PROCESSING;
      task.updatedAtMs = wallMs;
      this.#processing.add(task);
      fetched.push(task);
    }
    return fetched;
  }

  complete(
    client: Uuid,
    id: Uuid,
    status: number,
    message: string,
    wallMs: number,
  ): Expected<undefined> {
    if (!isFinished(status)) return failed('INVALID_PARAMS');
    const task = this.#byId.get(id);
    if (task === undefined) return failed('TASK_NOT_FOUND');
    if (task.client !== client) return failed('ILLEGAL_CLIENT');
    if (!isFinished(task.status)) this.#finish(task, status, message, wallMs);
    return done;
  }

  /** Ends what takes too long, and what dead clients were to do. */
  sweep(dead: ReadonlySet<Uuid>, wallMs: number): void {
    const { taskPendingTimeoutMs, taskProcessingTimeoutMs } = this.#limits;
    for (const queue of [...this.#pending.values()]) {
      for (const task of queue) {
        if (dead.has(task.client)) this.#fail(task, 'the client is gone', wallMs);
        else if (isOver(wallMs - task.createdAtMs, taskPendingTimeoutMs)) {
          this.#fail(task, 'pending timeout', wallMs);
        }
      }
    }
    for (const task of this.#processing) {
      if (dead.has(task.client)) this.#fail(task, 'the client is gone', wallMs);
      else if (isOver(wallMs - task.updatedAtMs, taskProcessingTimeoutMs)) {
        this.#fail(task, 'processing timeout', wallMs);
      }
    }
  }

  checkInvariants(): void {
    let pendingCount = 0;
    for (const [client, queue] of this.#pending) {
      assert(queue.size > 0, 'no queue of tasks is empty');
      for (const task of queue) {
        assert(task.client === client && task.status === TaskStatus.PENDING, 'queues are pending');
      }
      pendingCount += queue.size;
    }
    assert(pendingCount === this.#pendingCount, 'pending tasks are counted');
    const count = pendingCount + this.#processing.size + this.#finished.size;
    assert(count === this.#byId.size, 'each task is pending, processing or finished');
  }

  #fail(task: Task, reason: string, wallMs: number): void {
    this.#finish(task, TaskStatus.FAILED, reason, wallMs);
  }

  #finish(task: Task, status: number, message: string, wallMs: number): void {
    if (task.status === TaskStatus.PENDING) this.#unqueue(task);
    this.#processing.delete(task);
    task.status = status;
    task.message = message;
    task.updatedAtMs = wallMs;
    this.#finished.add(task);
    for (const oldest of this.#finished) {
      if (this.#finished.size <= this.#limits.taskFinishedCountMax) break;
      this.#finished.delete(oldest);
      this.#byId.delete(oldest.id);
    }
  }

  #unqueue(task: Task): void {
    const queue = this.#pending.get(task.client);
    if (queue?.delete(task) !== true) return;
    this.#pendingCount -= 1;
    if (queue.size === 0) this.#pending.delete(task.client);
  }
}

export function isFinished(status: number): boolean {
  return status === TaskStatus.FAILED || status === TaskStatus.SUCCESS;
}

function isOver(ageMs: number, limitMs: number): boolean {
  return limitMs > 0 && ageMs > limitMs;
}
