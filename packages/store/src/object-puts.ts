import { type CancelSignal, type Clock, sleep } from '@tsukimi/base';
import { ErrorCode, type Expected, type ReplicateConfig } from '@tsukimi/wire';
import { RoomWaits } from './core/room-waits.ts';
import type { Gate } from './gate.ts';
import type { Lookups } from './lookups.ts';
import type { ObjectWriter } from './object-writer.ts';
import type { ReplicaWriter } from './replica-writer.ts';
import { Reservation } from './reservation.ts';
import type { PutOutcome } from './stored-object.ts';
import { mayBeStarted, type WriteCalls, type WriteKind } from './write-calls.ts';
import type { WriteEntry } from './write-entry.ts';

export interface ObjectPutsOptions {
  readonly writer: ObjectWriter;
  readonly calls: WriteCalls;
  readonly replicaWriter: ReplicaWriter;
  readonly gate: Gate;
  readonly transferMs: number;
  readonly lookups: Lookups;
  readonly clock: Clock;
}

/** `present`: somebody's complete object was there already. */
export type PutDone = 'stored' | 'present';

/** Between looks at a key that another writer is still at; doubles. */
const pollMinMs = 2;
const pollMaxMs = 100;

/** Puts and upserts, never two of this client for one key at once. */
export class ObjectPuts {
  readonly #options: ObjectPutsOptions;
  /** Keys this client is writing. The master cannot tell two writes of one client apart. */
  readonly #writing = new Set<string>();
  readonly #reserved = new Set<string>();

  constructor(options: ObjectPutsOptions) {
    this.#options = options;
  }

  get writingCount(): number {
    return this.#writing.size;
  }

  /** One attempt: a key that another writer is at is told, not waited for. */
  async putIfAbsent(
    entries: readonly WriteEntry[],
    config: ReplicateConfig,
    signal: CancelSignal,
  ): Promise<PutOutcome[]> {
    const outcomes: PutOutcome[] = entries.map(() => 'in-progress');
    const existing: number[] = [];
    await this.#attempt('put', entries, [...entries.keys()], config, signal, (index, result) => {
      if ('ok' in result) outcomes[index] = 'stored';
      else if (hasNoRoom(result)) outcomes[index] = 'no-space';
      else if (isTaken(result)) existing.push(index);
      else outcomes[index] = 'failed';
    });
    await this.#tellPresent(entries, existing, signal, (index, isPresent) => {
      outcomes[index] = isPresent === null ? 'failed' : isPresent ? 'present' : 'in-progress';
    });
    return outcomes;
  }

  /**
   * Every key ends stored, or present, or with the error that keeps it from that. Until `signal` fires,
   * another writer of the key is waited for, and room is where there is none; after that it is
   * `OBJECT_ALREADY_EXISTS` and `NO_AVAILABLE_HANDLE`.
   */
  async put(
    kind: WriteKind,
    entries: readonly WriteEntry[],
    config: ReplicateConfig,
    signal: CancelSignal,
  ): Promise<Expected<PutDone>[]> {
    const { clock } = this.#options;
    const outcomes: Expected<PutDone>[] = entries.map(() => ({
      error: ErrorCode.OBJECT_ALREADY_EXISTS,
    }));
    const waiting = new Set(entries.keys());
    const room = new RoomWaits();
    for (let pollMs = pollMinMs; ; pollMs = Math.min(pollMaxMs, pollMs * 2)) {
      const nowMs = clock.monotonicMs();
      const due = [...waiting].filter((index) => room.isDue(index, nowMs));
      const existing: number[] = [];
      await this.#attempt(kind, entries, due, config, signal, (index, result) => {
        if (kind === 'put' && isTaken(result)) {
          existing.push(index);
          return;
        }
        if (hasNoRoom(result)) room.wait(index, nowMs);
        else waiting.delete(index);
        // An attempt that the end of time cut off tells less than the one before it.
        if (pollMs > pollMinMs && signal.aborted && 'error' in result) return;
        outcomes[index] = 'ok' in result ? { ok: 'stored' } : result;
      });
      await this.#tellPresent(entries, existing, signal, (index, isPresent) => {
        if (isPresent !== true) return;
        waiting.delete(index);
        outcomes[index] = { ok: 'present' };
      });
      if (waiting.size === 0 || signal.aborted) return outcomes;
      await sleep(clock, room.delayMs(waiting, clock.monotonicMs()) ?? pollMs, signal);
      if (signal.aborted) return outcomes;
    }
  }

  /** Room to be filled part by part. A key that is there, or being written, is `OBJECT_ALREADY_EXISTS`. */
  async reserve(
    key: string,
    byteCount: number,
    config: ReplicateConfig,
    signal: CancelSignal,
  ): Promise<Expected<Reservation>> {
    if (this.#isBusy(key)) return { error: ErrorCode.OBJECT_ALREADY_EXISTS };
    this.#reserved.add(key);
    const free = () => void this.#reserved.delete(key);
    const { calls } = this.#options;
    const [start = { error: ErrorCode.RPC_FAIL }] = await calls.start(
      'put',
      [{ key, byteCount }],
      config,
      signal,
    );
    if ('error' in start) {
      if (mayBeStarted(start)) await calls.revoke('put', [key]);
      free();
      return start;
    }
    const { gate, replicaWriter, transferMs } = this.#options;
    const common = { calls, replicaWriter, gate, transferMs };
    const replicas = start.ok;
    return { ok: new Reservation({ ...common, key, byteCount, replicas, onSettled: free }) };
  }

  #isBusy(key: string): boolean {
    return this.#writing.has(key) || this.#reserved.has(key);
  }

  /** Writes those that no other write of this client is at; nothing is told of the others. */
  async #attempt(
    kind: WriteKind,
    entries: readonly WriteEntry[],
    indices: readonly number[],
    config: ReplicateConfig,
    signal: CancelSignal,
    tell: (index: number, result: Expected<undefined>) => void,
  ): Promise<void> {
    const own: number[] = [];
    const batch: WriteEntry[] = [];
    for (const index of indices) {
      const entry = entries[index] as WriteEntry;
      if (this.#isBusy(entry.key)) continue;
      this.#writing.add(entry.key);
      own.push(index);
      batch.push(entry);
    }
    if (batch.length === 0) return;
    try {
      const results = await this.#options.writer.write(kind, batch, config, signal);
      for (const [at, index] of own.entries()) tell(index, results[at] as Expected<undefined>);
    } finally {
      for (const { key } of batch) this.#writing.delete(key);
    }
  }

  /** Tells complete objects from those that somebody else is still writing; null where nobody answers. */
  async #tellPresent(
    entries: readonly WriteEntry[],
    indices: readonly number[],
    signal: CancelSignal,
    tell: (index: number, isPresent: boolean | null) => void,
  ): Promise<void> {
    if (indices.length === 0) return;
    const keys = indices.map((index) => (entries[index] as WriteEntry).key);
    const answers = await this.#options.lookups.exist(keys, signal);
    for (const [at, index] of indices.entries()) {
      const answer = answers[at] as Expected<boolean>;
      tell(index, 'error' in answer ? null : answer.ok);
    }
  }
}

function isTaken(result: Expected<undefined>): boolean {
  return 'error' in result && result.error === ErrorCode.OBJECT_ALREADY_EXISTS;
}

function hasNoRoom(result: Expected<undefined>): boolean {
  return 'error' in result && result.error === ErrorCode.NO_AVAILABLE_HANDLE;
}
