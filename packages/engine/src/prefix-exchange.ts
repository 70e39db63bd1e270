import { type Clock, deadline, type Logger, orAborted } from '@tsukimi/base';
import {
  joinChunks,
  type LlamaContext,
  matchesLayout,
  type SequenceLayout,
  stateByteCount,
} from '@tsukimi/llama';
import { BufferPool } from './buffer-pool.ts';
import type { LoadedPrefix, PrefixStore, SavedKind } from './prefix-store.ts';

export interface PrefixExchangeOptions {
  readonly store: PrefixStore;
  readonly layout: SequenceLayout;
  readonly context: LlamaContext;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A look-up and its load take this long at most, whatever the store does. */
  readonly loadMs: number;
}

export interface Saving {
  readonly settled: Promise<void>;
}

/** Moves the KV of slots from and to the store. Nothing here fails a request: errors are logged and it is computed. */
export class PrefixExchange {
  readonly layout: SequenceLayout;
  readonly #options: PrefixExchangeOptions;
  readonly #exports: BufferPool;
  readonly #savings = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  #scratch = Buffer.alloc(0);
  #skippedCount = 0;

  constructor(options: PrefixExchangeOptions) {
    this.#options = options;
    this.layout = options.layout;
    this.#exports = new BufferPool(options.context.slots);
  }

  /** Exports that were not made because too many were still on their way. */
  get skippedCount(): number {
    return this.#skippedCount;
  }

  wants(kind: SavedKind): boolean {
    return this.#options.store.wants(kind);
  }

  keysOf(tokens: Int32Array, salt: string): readonly string[] {
    return this.#options.store.keysOf({ tokens, salt, layout: this.layout });
  }

  /** Null when there is nothing, or not in time. */
  async load(
    tokens: Int32Array,
    salt: string,
    cancelled: AbortSignal,
  ): Promise<LoadedPrefix | null> {
    const { store, clock, logger, loadMs } = this.#options;
    using limit = deadline(clock, loadMs, 'loading a prefix', cancelled);
    const { signal } = limit;
    let given = false;
    try {
      const loading = store.load({ tokens, salt, layout: this.layout, signal });
      // What comes after we gave up still has to be given back.
      void loading
        .then((prefix) => (signal.aborted && !given ? prefix.release() : null))
        .catch(() => {});
      const prefix = await orAborted(loading, signal);
      given = true;
      if (prefix.cells > 0) return prefix;
      prefix.release();
    } catch (error) {
      if (!cancelled.aborted) logger.warn('engine.load_failed', { reason: String(error) });
    }
    return null;
  }

  /** Puts a prefix into an empty slot, at most `cellsMax` of it; gives the cells in place. Between two steps. */
  async import(slot: number, prefix: LoadedPrefix, cellsMax: number): Promise<number> {
    const { context, logger } = this.#options;
    const cells = Math.min(prefix.cells, cellsMax);
    try {
      if (cells <= 0) return 0;
      const byteCount = stateByteCount(this.layout, context.slots, prefix.cells);
      if (this.#scratch.length < byteCount) this.#scratch = Buffer.allocUnsafeSlow(byteCount);
      const target = { streams: context.slots, sequence: slot, chunks: prefix.chunks };
      await context.importState(slot, joinChunks(this.layout, target, this.#scratch));
      if (cells < prefix.cells) context.removeCells(slot, cells, -1);
      return cells;
    } catch (error) {
      logger.warn('engine.import_failed', { cells, reason: String(error) });
      context.removeCells(slot, -1, -1);
      return 0;
    } finally {
      prefix.release();
    }
  }

  /**
   * Copies the slot's KV, one cell for each token, and hands it to the store; the slot may go on as soon as this
   * resolves. Null when there is no copy. Between two steps.
   */
  async save(
    slot: number,
    tokens: Int32Array,
    salt: string,
    kind: SavedKind,
  ): Promise<Saving | null> {
    const { context, store, logger } = this.#options;
    const byteCount = context.stateByteCount(slot);
    const buffer = this.#exports.take(byteCount);
    if (buffer === null) {
      this.#skippedCount++;
      return null;
    }
    try {
      await context.exportState(slot, buffer.bytes);
      const state = buffer.bytes.subarray(0, byteCount);
      const expected = stateByteCount(this.layout, context.slots, tokens.length);
      if (byteCount !== expected || !matchesLayout(state, context.slots, this.layout)) {
        throw new Error(`a state of ${byteCount} bytes is not one of ${tokens.length} cells`);
      }
      const settled = store
        .save({
          tokens: tokens.slice(),
          salt,
          state,
          layout: this.layout,
          kind,
          signal: this.#stopping.signal,
        })
        .catch((error: unknown) => logger.warn('engine.save_failed', { reason: String(error) }))
        .finally(() => {
          buffer.release();
          this.#savings.delete(settled);
        });
      this.#savings.add(settled);
      return { settled };
    } catch (error) {
      buffer.release();
      logger.warn('engine.export_failed', { kind, reason: String(error) });
      return null;
    }
  }

  /** Waits for what is being saved; calls it off when `stopDeadline` fires. */
  async stop(stopDeadline: AbortSignal): Promise<void> {
    const saved = Promise.all(this.#savings);
    await orAborted(saved, stopDeadline).catch(() => {});
    this.#stopping.abort();
  }
}
