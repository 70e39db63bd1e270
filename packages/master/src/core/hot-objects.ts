import type { Random } from '@tsukimi/base';
import { makeUuid } from '@tsukimi/wire';
import type { Counters } from './counters.ts';
import { isReadable, type MemoryReplica } from './replica.ts';
import type { ReplicationLease, Replicator } from './replicator.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';
import { emptiestFor } from './target-choice.ts';
import type { TaskRules } from './task-rules.ts';

export const dynamicReplicationModes = ['off', 'observe', 'enforce'] as const;

export interface HotObjectOptions {
  readonly random: Random;
  /** `observe` only counts what `enforce` would have copied. */
  readonly dynamicReplicationMode: (typeof dynamicReplicationModes)[number];
  readonly hotWindowMs: number;
  /** Reads a second over a window, from which an object is hot. */
  readonly hotReadsPerSecond: number;
  /** So many copies in memory at most, those of the writer included. */
  readonly hotReplicaCountMax: number;
}

/** What is watched at a time; more objects wait until windows of others are over. */
const windowCountMax = 50_000;
/** How long an object is left alone after a copy of it was asked for. */
const quietMs = 30_000;
/** Fuller segments get no copies. */
const targetUseMax = 0.85;

interface Window {
  sinceMs: number;
  count: number;
  quietUntilMs: number;
}

/** Has objects that are read often copied to more segments, by the clients that hold them. */
export class HotObjects {
  readonly #options: HotObjectOptions;
  readonly #segments: SegmentTable;
  readonly #replicator: Replicator;
  readonly #tasks: TaskRules;
  readonly #counters: Counters;
  readonly #hitCountMin: number;
  readonly #windows = new Map<StoredObject, Window>();

  constructor(
    options: HotObjectOptions,
    segments: SegmentTable,
    replicator: Replicator,
    tasks: TaskRules,
    counters: Counters,
  ) {
    this.#options = options;
    this.#segments = segments;
    this.#replicator = replicator;
    this.#tasks = tasks;
    this.#counters = counters;
    const { hotReadsPerSecond, hotWindowMs } = options;
    this.#hitCountMin = Math.max(1, Math.ceil((hotReadsPerSecond * hotWindowMs) / 1e3));
  }

  /** An object was looked up. */
  hit(object: StoredObject, nowMs: number): void {
    if (this.#options.dynamicReplicationMode === 'off') return;
    let window = this.#windows.get(object);
    if (window === undefined) {
      if (this.#windows.size >= windowCountMax) return;
      window = { sinceMs: nowMs, count: 0, quietUntilMs: 0 };
      this.#windows.set(object, window);
    } else if (nowMs - window.sinceMs >= this.#options.hotWindowMs) {
      window.sinceMs = nowMs;
      window.count = 0;
    }
    window.count += 1;
    if (window.count < this.#hitCountMin || nowMs < window.quietUntilMs) return;
    window.quietUntilMs = nowMs + quietMs;
    this.#copy(object, nowMs);
  }

  /** Forgets windows that are over, with the objects in them. */
  sweep(nowMs: number): void {
    for (const [object, { sinceMs, quietUntilMs }] of this.#windows) {
      if (nowMs - sinceMs < this.#options.hotWindowMs || nowMs < quietUntilMs) continue;
      this.#windows.delete(object);
    }
  }

  #copy(object: StoredObject, nowMs: number): void {
    const { dynamicReplicationMode, hotReplicaCountMax, random } = this.#options;
    const copies = object.replicas.filter(({ kind }) => kind === 'memory') as MemoryReplica[];
    const source = copies.find(isReadable);
    if (source === undefined || copies.length >= hotReplicaCountMax) return;
    if (object.replication !== null || object.trailing !== null) return;
    const target = emptiestFor(object, this.#segments);
    if (target === null || target.use >= targetUseMax) return;
    this.#counters.hotObjects += 1;
    if (dynamicReplicationMode !== 'enforce') return;
    const lease: ReplicationLease = {
      id: makeUuid(random),
      epoch: Math.floor(object.startedMs),
    };
    const { descriptor, owner } = source.segment;
    const from = descriptor.name;
    const task = this.#tasks.submitCopy(object, from, [target.name], lease);
    if ('error' in task) return;
    const to = target.name;
    this.#replicator.expect({ object, lease, client: owner, from, to, untilMs: nowMs + quietMs });
  }
}
