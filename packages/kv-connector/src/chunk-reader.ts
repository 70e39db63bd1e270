import { type Clock, deadline, type Logger } from '@tsukimi/base';
import type { LoadedPrefix } from '@tsukimi/engine';
import type { BufferPool, PooledBuffer, ReadOutcome } from '@tsukimi/store';
import type { ChunkStore, FoundChunk } from './chunk-store.ts';
import type { ConnectorCounters } from './connector-counters.ts';
import { chunkHeaderByteCount, findChunkFlaw } from './core/chunk-header.ts';
import type { ChunkKeys } from './core/chunk-keys.ts';
import {
  chooseChain,
  chooseTail,
  type FoundSpan,
  planLookup,
  planTails,
} from './core/lookup-plan.ts';

export interface ChunkReaderOptions {
  readonly chunks: ChunkStore;
  readonly pool: BufferPool;
  readonly chunkLength: number;
  readonly deadlines: {
    readonly lookupMs: number;
    readonly loadBaseMs: number;
    readonly loadMsPerGigabyte: number;
  };
  readonly clock: Clock;
  readonly logger: Logger;
  readonly counters: ConnectorCounters;
}

/** How many chunks of one request are on their way at once. */
const parallelReadCountMax = 4;
/** After copying and checking this much, others get their turn. */
const turnByteCount = 1024 * 1024;

const nothing: LoadedPrefix = { cells: 0, chunks: [], release() {} };

/** Finds, fetches and verifies the longest stored chain of a token sequence. Never rejects. */
export class ChunkReader {
  readonly #options: ChunkReaderOptions;

  constructor(options: ChunkReaderOptions) {
    this.#options = options;
  }

  async load(
    keys: ChunkKeys,
    tokenCount: number,
    cellByteCount: number,
    signal: AbortSignal,
  ): Promise<LoadedPrefix> {
    const { counters } = this.#options;
    counters.lookupCount += 1;
    counters.lookedUpTokenCount += tokenCount;
    const chain = await this.#lookUp(keys, tokenCount, signal);
    if (chain.length === 0) return nothing;
    return this.#fetch(chain, cellByteCount, signal);
  }

  checkInvariants(): void {
    this.#options.pool.checkInvariants();
  }

  async #lookUp(
    keys: ChunkKeys,
    tokenCount: number,
    signal: AbortSignal,
  ): Promise<FoundSpan<FoundChunk>[]> {
    const { chunks, chunkLength, clock, counters, deadlines } = this.#options;
    using limit = deadline(clock, deadlines.lookupMs, 'a look-up', signal);
    const plan = planLookup(keys, tokenCount, chunkLength);
    const asked = [...plan.whole, ...plan.tails].map((span) => span.key);
    const found = await chunks.find(asked, limit.signal);
    const { chain, tailsOf } = chooseChain(plan, {
      whole: found.slice(0, plan.whole.length),
      tails: found.slice(plan.whole.length),
    });
    if (tailsOf !== null && !limit.signal.aborted) {
      const tails = planTails(keys, tokenCount, chunkLength, tailsOf);
      const answer = await chunks.find(
        tails.map((span) => span.key),
        limit.signal,
      );
      const tail = chooseTail(tails, answer);
      if (tail !== null) chain.push(tail);
    }
    if (limit.signal.aborted) counters.failures.lookup += 1;
    return chain;
  }

  async #fetch(
    chain: readonly FoundSpan<FoundChunk>[],
    cellByteCount: number,
    signal: AbortSignal,
  ): Promise<LoadedPrefix> {
    const { clock, counters, deadlines } = this.#options;
    const byteCount = chain.reduce((sum, { found }) => sum + found.byteCount, 0);
    const limitMs = deadlines.loadBaseMs + (deadlines.loadMsPerGigabyte * byteCount) / 1e9;
    using limit = deadline(clock, limitMs, 'loading chunks', signal);
    const loaded: (PooledBuffer | null)[] = chain.map(() => null);
    let next = 0;
    // Nothing from here on is of use: a chain ends at its first gap.
    let end = chain.length;
    let unyieldedByteCount = 0;
    const readOn = async () => {
      while (next < end) {
        const index = next++;
        const link = chain[index] as FoundSpan<FoundChunk>;
        const buffer = await this.#readOne(link, cellByteCount, limit.signal);
        loaded[index] = buffer;
        if (buffer === null) end = Math.min(end, index);
        unyieldedByteCount += link.found.byteCount;
        if (unyieldedByteCount >= turnByteCount) {
          unyieldedByteCount = 0;
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
    };
    await Promise.all(Array.from({ length: parallelReadCountMax }, readOn));
    for (const buffer of loaded.splice(end)) buffer?.release();
    const kept = loaded.filter((buffer) => buffer !== null);
    const cells = chain.slice(0, end).reduce((sum, { span }) => sum + span.cells, 0);
    counters.hitTokenCount += cells;
    let held = true;
    return {
      cells,
      chunks: kept.map((buffer, index) => ({
        cells: (chain[index] as FoundSpan<FoundChunk>).span.cells,
        bytes: buffer.bytes.subarray(chunkHeaderByteCount),
      })),
      release() {
        if (held) for (const buffer of kept) buffer.release();
        held = false;
      },
    };
  }

  /** A verified copy, or null. What does not fit its key is removed, so that it is stored anew. */
  async #readOne(
    { span, found }: FoundSpan<FoundChunk>,
    cellByteCount: number,
    signal: AbortSignal,
  ): Promise<PooledBuffer | null> {
    const { chunks, counters, logger, pool } = this.#options;
    let flaw = null;
    let buffer: PooledBuffer | null = null;
    if (found.byteCount !== chunkHeaderByteCount + span.cells * cellByteCount) {
      flaw = 'length' as const;
    } else {
      buffer = pool.tryTake(found.byteCount);
      if (buffer === null) {
        counters.failures.memory += 1;
        return null;
      }
      const outcome = await found.read(buffer.bytes, signal);
      if (outcome !== 'read') {
        buffer.release();
        this.#countUnread(outcome, signal);
        return null;
      }
      flaw = findChunkFlaw(buffer.bytes, span.key, span.cells);
      if (flaw === null) {
        counters.loadedChunkCount += 1;
        counters.loadedByteCount += found.byteCount;
        return buffer;
      }
    }
    buffer?.release();
    counters.corruptChunkCount += 1;
    counters.flaws[flaw] += 1;
    logger.warn('kv.corrupt_chunk', { flaw, firstCell: span.firstCell, cells: span.cells });
    await chunks.discard(span.key, signal);
    return null;
  }

  #countUnread(outcome: Exclude<ReadOutcome, 'read'>, signal: AbortSignal): void {
    const { failures } = this.#options.counters;
    if (signal.aborted) failures['load-deadline'] += 1;
    else if (outcome === 'lease-expired') failures['lease-expired'] += 1;
    else failures.read += 1;
  }
}
