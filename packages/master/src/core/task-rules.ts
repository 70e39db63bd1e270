import { below, type Clock, type Random } from '@tsukimi/base';
import {
  type ArgsOf,
  type Expected,
  type MasterProtocol,
  makeUuid,
  type ResultOf,
  TaskType,
  type Uuid,
} from '@tsukimi/wire';
import { failed } from './answers.ts';
import type { ObjectTable } from './object-table.ts';
import type { ReplicationLease } from './replicator.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';
import { type Task, type TaskLimits, TaskTable } from './task-table.ts';

export interface TaskOptions extends TaskLimits {
  readonly clock: Clock;
  readonly random: Random;
  readonly taskRetryCountMax: number;
}

/** What somebody asks for that a client is to do: copies and moves, fetched and reported on by clients. */
export class TaskRules {
  readonly #options: TaskOptions;
  readonly #segments: SegmentTable;
  readonly #objects: ObjectTable;
  readonly #tasks: TaskTable;

  constructor(options: TaskOptions, segments: SegmentTable, objects: ObjectTable) {
    this.#options = options;
    this.#segments = segments;
    this.#objects = objects;
    this.#tasks = new TaskTable(options);
  }

  /** Has the object copied to all targets, by the client that owns one of its copies. */
  createCopy(...[key, tenant, targets]: ArgsOf<MasterProtocol['CreateCopyTask']>): Expected<Uuid> {
    if (targets.length === 0) return failed('INVALID_PARAMS');
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    for (const name of targets) {
      const refusal = this.#refusalOf(name);
      if (refusal !== null) return refusal;
    }
    const sources = segmentNamesOf(object);
    const source = sources[below(this.#options.random, sources.length)];
    if (source === undefined) return failed('INTERNAL_ERROR');
    return this.submitCopy(object, source, targets, null);
  }

  submitCopy(
    object: StoredObject,
    source: string,
    targets: readonly string[],
    lease: ReplicationLease | null,
  ): Expected<Uuid> {
    const owner = this.#segments.named(source)[0]?.owner;
    if (owner === undefined) return failed('INTERNAL_ERROR');
    const [high, low] = lease?.id.split('-') ?? ['0', '0'];
    const members = [
      ...membersOf(object, source),
      `"targets":[${targets.map(jsonText).join(',')}]`,
      // These may exceed what JSON.stringify writes exactly.
      `"dynamic_replication_lease_id_high":${high}`,
      `"dynamic_replication_lease_id_low":${low}`,
      `"dynamic_replication_version_epoch":${lease?.epoch ?? 0}`,
    ];
    return this.#submit(TaskType.REPLICA_COPY, owner, members);
  }

  /** Has one copy moved, by the client that owns it. */
  createMove(
    ...[key, tenant, source, target]: ArgsOf<MasterProtocol['CreateMoveTask']>
  ): Expected<Uuid> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (source === target) return failed('INVALID_PARAMS');
    const refusal = this.#refusalOf(target);
    if (refusal !== null) return refusal;
    if (!segmentNamesOf(object).includes(source)) return failed('INVALID_PARAMS');
    const owner = this.#segments.named(source)[0]?.owner;
    if (owner === undefined) return failed('INTERNAL_ERROR');
    const members = [...membersOf(object, source), `"target":${jsonText(target)}`];
    return this.#submit(TaskType.REPLICA_MOVE, owner, members);
  }

  get(id: Uuid): Task | undefined {
    return this.#tasks.get(id);
  }

  query(id: Uuid): ResultOf<MasterProtocol['QueryTask']> {
    const task = this.#tasks.get(id);
    if (task === undefined) return failed('TASK_NOT_FOUND');
    const { type, status, client, message } = task;
    return {
      ok: {
        id,
        type,
        status,
        createdAtMsEpoch: task.createdAtMs,
        lastUpdatedAtMsEpoch: task.updatedAtMs,
        assignedClient: client,
        message,
      },
    };
  }

  fetch(
    ...[client, count]: ArgsOf<MasterProtocol['FetchTasks']>
  ): ResultOf<MasterProtocol['FetchTasks']> {
    const tasks = this.#tasks.fetch(client, count, this.#wallMs());
    return {
      ok: tasks.map(({ id, type, payload, createdAtMs }) => ({
        id,
        type,
        payload,
        createdAtMsEpoch: createdAtMs,
        maxRetryAttempts: this.#options.taskRetryCountMax,
      })),
    };
  }

  complete(
    ...[client, { id, status, message }]: ArgsOf<MasterProtocol['MarkTaskToComplete']>
  ): Expected<undefined> {
    return this.#tasks.complete(client, id, status, message, this.#wallMs());
  }

  sweep(dead: ReadonlySet<Uuid>): void {
    this.#tasks.sweep(dead, this.#wallMs());
  }

  checkInvariants(): void {
    this.#tasks.checkInvariants();
  }

  #submit(type: number, client: Uuid, members: readonly string[]): Expected<Uuid> {
    const id = makeUuid(this.#options.random);
    const payload = `{${members.join(',')}}`;
    return this.#tasks.submit({ id, type, payload, client }, this.#wallMs());
  }

  #refusalOf(target: string): { readonly error: number } | null {
    if (this.#segments.named(target).length === 0) return failed('INVALID_PARAMS');
    return this.#segments.isOpen(target) ? null : failed('UNAVAILABLE_IN_CURRENT_STATUS');
  }

  #wallMs(): number {
    return Math.floor(this.#options.clock.wallMs());
  }
}

/** Where the copies in memory are, each name once. */
export function segmentNamesOf({ replicas }: StoredObject): string[] {
  const names = new Set<string>();
  for (const replica of replicas) {
    if (replica.kind === 'memory') names.add(replica.segment.descriptor.name);
  }
  return [...names];
}

function membersOf({ tenant, key }: StoredObject, source: string): string[] {
  return [
    `"tenant_id":${jsonText(tenant.id)}`,
    `"key":${jsonText(key)}`,
    `"source":${jsonText(source)}`,
  ];
}

/** As Mooncake writes it: whatever is not ASCII is escaped. */
function jsonText(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (unit) => {
    const code = unit.charCodeAt(0).toString(16).toUpperCase();
    return `\\u${code.padStart(4, '0')}`;
  });
}
