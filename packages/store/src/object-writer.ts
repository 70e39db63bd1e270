import type { CancelSignal, Clock, Logger } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import {
  ErrorCode,
  type Expected,
  errorName,
  type ObjectMeta,
  type ReplicateConfig,
} from '@tsukimi/wire';
import type { BufferPool } from './buffer-pool.ts';
import type { EndpointHealth } from './core/endpoint-health.ts';
import { afterFailures, awayFromSuspects } from './core/placement.ts';
import { checksumOf } from './crc64.ts';
import type { ReplicaWriter } from './replica-writer.ts';
import type { MemoryReplica } from './stored-object.ts';
import { mayBeStarted, type WriteCalls, type WriteKind } from './write-calls.ts';
import type { WriteEntry } from './write-entry.ts';

export interface ObjectWriterOptions {
  readonly engine: TransferEngine;
  readonly calls: WriteCalls;
  readonly replicaWriter: ReplicaWriter;
  /** Memory for what cannot be written in place. */
  readonly staging: BufferPool;
  readonly health: EndpointHealth;
  /** Whether checksums are computed and given to the master. */
  readonly checksums: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How many objects of one put are on their way over a network at once. */
const parallelWriteCountMax = 16;
/** After filling this much, others get their turn. */
const turnByteCount = 1024 * 1024;
/** How often an object is taken to other segments when its own do not take it. */
const attemptCountMax = 3;

/** Writes objects: starts, fills, ends; whatever was started is ended or revoked. */
export class ObjectWriter {
  readonly #options: ObjectWriterOptions;

  constructor(options: ObjectWriterOptions) {
    this.#options = options;
  }

  /**
   * Whether each was stored, else why not: the master's error, or `TRANSFER_FAIL` when no segment took
   * it. No two writes of one key may run at once: the master cannot tell two of one client apart.
   */
  async write(
    kind: WriteKind,
    entries: readonly WriteEntry[],
    config: ReplicateConfig,
    signal: CancelSignal,
  ): Promise<Expected<undefined>[]> {
    const { clock, health } = this.#options;
    const outcomes: Expected<undefined>[] = entries.map(() => ({ error: ErrorCode.RPC_TIMEOUT }));
    let todo = [...entries.keys()];
    let placed = awayFromSuspects(config, health, clock.monotonicMs());
    for (let attempt = 1; todo.length > 0 && attempt <= attemptCountMax; attempt++) {
      if (signal.aborted) break;
      const batch = todo.map((index) => entries[index] as WriteEntry);
      const results = await new WriteBatch(this.#options, kind, batch).run(placed, signal);
      const untaken: number[] = [];
      for (const [at, index] of todo.entries()) {
        const result = results[at] as Expected<undefined>;
        outcomes[index] = result;
        if ('error' in result && result.error === ErrorCode.TRANSFER_FAIL) untaken.push(index);
      }
      todo = untaken;
      placed = afterFailures(config, health, clock.monotonicMs());
    }
    return outcomes;
  }
}

/** One attempt at writing some objects. */
class WriteBatch {
  readonly #options: ObjectWriterOptions;
  readonly #kind: WriteKind;
  readonly #entries: readonly WriteEntry[];

  constructor(options: ObjectWriterOptions, kind: WriteKind, entries: readonly WriteEntry[]) {
    this.#options = options;
    this.#kind = kind;
    this.#entries = entries;
  }

  async run(config: ReplicateConfig, signal: CancelSignal): Promise<Expected<undefined>[]> {
    const entries = this.#entries;
    const isGrouped = entries.some(({ groupId }) => groupId !== undefined);
    const groupIds = isGrouped ? entries.map(({ groupId = '' }) => groupId) : null;
    const placed = isGrouped ? { ...config, groupIds } : config;
    const starts = await this.#options.calls.start(this.#kind, entries, placed, signal);
    const written = await this.#writeAll(starts, signal);
    return this.#settle(starts, written, signal);
  }

  /** The checksum of each that was written completely. */
  async #writeAll(
    starts: readonly Expected<readonly MemoryReplica[]>[],
    signal: CancelSignal,
  ): Promise<readonly Expected<bigint | null>[]> {
    const written: Expected<bigint | null>[] = [];
    let next = 0;
    let unyieldedByteCount = 0;
    const writeOn = async () => {
      while (next < starts.length) {
        const index = next++;
        const start = starts[index] as Expected<readonly MemoryReplica[]>;
        if ('error' in start) {
          written[index] = start;
          continue;
        }
        const entry = this.#entries[index] as WriteEntry;
        written[index] = await this.#write(entry, start.ok, signal);
        unyieldedByteCount += entry.byteCount;
        if (unyieldedByteCount >= turnByteCount && next < starts.length) {
          unyieldedByteCount = 0;
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    };
    const length = Math.min(parallelWriteCountMax, starts.length);
    await Promise.all(Array.from({ length }, writeOn));
    return written;
  }

  /** To all replicas: `TRANSFER_FAIL` when one of them did not take it. */
  async #write(
    entry: WriteEntry,
    replicas: readonly MemoryReplica[],
    signal: CancelSignal,
  ): Promise<Expected<bigint | null>> {
    const { logger, staging } = this.#options;
    const [only, ...others] = replicas;
    try {
      if (only !== undefined && others.length === 0) {
        const view = await this.#view(only, entry.byteCount, signal);
        signal.throwIfAborted();
        if (view !== null) {
          entry.fill(view);
          return { ok: await this.#checksumOf(entry.parts ?? [view]) };
        }
      }
      if (entry.parts !== undefined) return await this.#sendAll(replicas, entry.parts, signal);
      const staged = await staging.take(entry.byteCount, signal);
      try {
        entry.fill(staged.bytes);
        return await this.#sendAll(replicas, [staged.bytes], signal);
      } finally {
        staged.release();
      }
    } catch (error) {
      if (signal.aborted) return { error: ErrorCode.RPC_TIMEOUT };
      logger.warn('store.fill_failed', { key: entry.key, reason: String(error) });
      return { error: ErrorCode.INTERNAL_ERROR };
    }
  }

  async #sendAll(
    replicas: readonly MemoryReplica[],
    parts: readonly Buffer[],
    signal: CancelSignal,
  ): Promise<Expected<bigint | null>> {
    const isSent = await this.#options.replicaWriter.send(replicas, 0, parts, signal);
    if (isSent) return { ok: await this.#checksumOf(parts) };
    return { error: signal.aborted ? ErrorCode.RPC_TIMEOUT : ErrorCode.TRANSFER_FAIL };
  }

  async #checksumOf(parts: readonly Buffer[]): Promise<bigint | null> {
    return this.#options.checksums ? await checksumOf(parts) : null;
  }

  /** Null where the bytes are not in reach, or the holder cannot be found. */
  async #view(
    { endpoint, address }: MemoryReplica,
    byteCount: number,
    signal: CancelSignal,
  ): Promise<Buffer | null> {
    try {
      const view = await this.#options.engine.mapped(endpoint, address, byteCount, { signal });
      return signal.aborted ? null : view;
    } catch {
      return null;
    }
  }

  /** Ends what was written and revokes the rest, also when the caller has given up. */
  async #settle(
    starts: readonly Expected<readonly MemoryReplica[]>[],
    written: readonly Expected<bigint | null>[],
    signal: CancelSignal,
  ): Promise<Expected<undefined>[]> {
    const { calls, logger } = this.#options;
    const outcomes: Expected<undefined>[] = [];
    const ending: number[] = [];
    const metas: ObjectMeta[] = [];
    for (const [index, each] of written.entries()) {
      if ('error' in each) {
        outcomes[index] = each;
        continue;
      }
      ending.push(index);
      metas.push({ key: this.#keyAt(index), objectChecksum: each.ok });
    }
    const ends = metas.length > 0 ? await calls.end(this.#kind, metas, signal) : [];
    for (const [at, index] of ending.entries()) {
      const end = ends[at] as Expected<undefined>;
      outcomes[index] = end;
      if ('error' in end) logger.warn('store.end_refused', { error: errorName(end.error) });
    }
    const unfinished = [...starts.keys()].filter(
      (index) =>
        'error' in (outcomes[index] as object) && mayBeStarted(starts[index] as Expected<unknown>),
    );
    if (unfinished.length > 0) {
      await calls.revoke(
        this.#kind,
        unfinished.map((index) => this.#keyAt(index)),
      );
    }
    return outcomes;
  }

  #keyAt(index: number): string {
    return (this.#entries[index] as WriteEntry).key;
  }
}
