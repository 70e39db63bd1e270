import type { Logger } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import type { BufferPool } from './buffer-pool.ts';
import type { MasterLink, PutStart } from './master-link.ts';
import type { PutEntry, PutOutcome } from './stored-object.ts';

export interface ObjectWriterOptions {
  readonly engine: TransferEngine;
  readonly link: MasterLink;
  /** Memory for what cannot be written in place. */
  readonly staging: BufferPool;
  readonly logger: Logger;
}

/** How many objects of one put are on their way over a network at once. */
const parallelWriteCountMax = 4;
/** After filling this much, others get their turn. */
const turnByteCount = 1024 * 1024;

type Started = Extract<PutStart, { readonly kind: 'started' }>;

/** Puts objects that are absent: starts, fills, ends; whatever was started is ended or revoked. */
export class ObjectWriter {
  readonly #options: ObjectWriterOptions;
  /** Keys this client is putting. The master cannot tell two puts of one client apart. */
  readonly #putting = new Set<string>();

  constructor(options: ObjectWriterOptions) {
    this.#options = options;
  }

  get puttingCount(): number {
    return this.#putting.size;
  }

  async putIfAbsent(entries: readonly PutEntry[], signal: AbortSignal): Promise<PutOutcome[]> {
    const outcomes: PutOutcome[] = entries.map(() => 'in-progress');
    const own: number[] = [];
    for (const [index, { key }] of entries.entries()) {
      if (this.#putting.has(key)) continue;
      this.#putting.add(key);
      own.push(index);
    }
    const keysOwned = own.map((index) => (entries[index] as PutEntry).key);
    try {
      const results = await this.#put(
        own.map((index) => entries[index] as PutEntry),
        signal,
      );
      for (const [at, index] of own.entries()) outcomes[index] = results[at] ?? 'failed';
    } finally {
      for (const key of keysOwned) this.#putting.delete(key);
    }
    return outcomes;
  }

  async #put(entries: readonly PutEntry[], signal: AbortSignal): Promise<PutOutcome[]> {
    const { link } = this.#options;
    if (entries.length === 0) return [];
    const starts = await link.putStart(entries, signal);
    if (starts === null) {
      // The master may have started them although its answer did not come.
      await link.putRevoke(entries.map(({ key }) => key));
      return entries.map(() => 'failed');
    }
    const outcomes = starts.map((start): PutOutcome => {
      if (start.kind === 'exists') return 'in-progress';
      return start.kind === 'no-space' ? 'no-space' : 'failed';
    });
    await this.#writeAll(entries, starts, outcomes, signal);
    await Promise.all([
      this.#settleExisting(entries, starts, outcomes, signal),
      this.#settleStarted(entries, starts, outcomes, signal),
    ]);
    return outcomes;
  }

  /** Marks what was written completely as stored. */
  async #writeAll(
    entries: readonly PutEntry[],
    starts: readonly PutStart[],
    outcomes: PutOutcome[],
    signal: AbortSignal,
  ): Promise<void> {
    let next = 0;
    let unyieldedByteCount = 0;
    const writeOn = async () => {
      while (next < entries.length) {
        const index = next++;
        const entry = entries[index] as PutEntry;
        const start = starts[index];
        if (start?.kind !== 'started') continue;
        if (await this.#write(entry, start, signal)) outcomes[index] = 'stored';
        unyieldedByteCount += entry.byteCount;
        if (unyieldedByteCount >= turnByteCount) {
          unyieldedByteCount = 0;
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    };
    await Promise.all(Array.from({ length: parallelWriteCountMax }, writeOn));
  }

  async #write(entry: PutEntry, { replicas }: Started, signal: AbortSignal): Promise<boolean> {
    const { engine, logger, staging } = this.#options;
    let endpoint = '';
    try {
      const [only, ...others] = replicas;
      if (only !== undefined && others.length === 0) {
        endpoint = only.endpoint;
        const view = await engine.mapped(endpoint, only.address, entry.byteCount, { signal });
        signal.throwIfAborted();
        if (view !== null) {
          entry.fill(view);
          return true;
        }
      }
      const staged = await staging.take(entry.byteCount, signal);
      try {
        entry.fill(staged.bytes);
        for (const replica of replicas) {
          endpoint = replica.endpoint;
          await engine.write(endpoint, replica.address, staged.bytes, { signal });
        }
        return true;
      } finally {
        staged.release();
      }
    } catch (error) {
      if (signal.aborted) return false;
      logger.warn('store.write_failed', { endpoint, reason: String(error) });
      engine.invalidate(endpoint);
      return false;
    }
  }

  /** Tells complete objects from those that somebody else is still writing. */
  async #settleExisting(
    entries: readonly PutEntry[],
    starts: readonly PutStart[],
    outcomes: PutOutcome[],
    signal: AbortSignal,
  ): Promise<void> {
    const indices = [...starts.keys()].filter((index) => starts[index]?.kind === 'exists');
    if (indices.length === 0) return;
    const keys = indices.map((index) => (entries[index] as PutEntry).key);
    const present = await this.#options.link.existKeys(keys, signal);
    for (const [at, index] of indices.entries()) {
      if (present?.[at] === true) outcomes[index] = 'present';
      else if (present === null) outcomes[index] = 'failed';
    }
  }

  /** Ends what was written and revokes the rest, also when the caller has given up. */
  async #settleStarted(
    entries: readonly PutEntry[],
    starts: readonly PutStart[],
    outcomes: PutOutcome[],
    signal: AbortSignal,
  ): Promise<void> {
    const { link } = this.#options;
    const started = [...starts.keys()].filter((index) => starts[index]?.kind === 'started');
    const keyOf = (index: number) => (entries[index] as PutEntry).key;
    const written = started.filter((index) => outcomes[index] === 'stored');
    if (written.length > 0) {
      const ended = await link.putEnd(written.map(keyOf), signal);
      for (const [at, index] of written.entries()) {
        if (ended?.[at] !== true) outcomes[index] = 'failed';
      }
    }
    const unfinished = started.filter((index) => outcomes[index] !== 'stored');
    if (unfinished.length > 0) await link.putRevoke(unfinished.map(keyOf));
  }
}
