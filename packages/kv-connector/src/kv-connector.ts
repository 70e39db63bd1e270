import { type Clock, deadline, type Logger, sleep } from '@tsukimi/base';
import type {
  LoadedPrefix,
  LoadRequest,
  PrefixStore,
  SavedKind,
  SaveRequest,
} from '@tsukimi/engine';
import { cutChunk, type SequenceLayout } from '@tsukimi/llama';
import { BufferPool, type PutEntry, type PutOutcome } from '@tsukimi/store';
import { ChunkReader } from './chunk-reader.ts';
import type { ChunkStore } from './chunk-store.ts';
import { type ConnectorCounters, newConnectorCounters } from './connector-counters.ts';
import { chunkHeaderByteCount, sealChunk } from './core/chunk-header.ts';
import { ChunkKeys, type ChunkSpan } from './core/chunk-keys.ts';
import { fingerprint, type ModelIdentity } from './core/fingerprint.ts';
import { planSave } from './core/lookup-plan.ts';

/** `producer` stores what it prefills, `consumer` nothing, `both` also what it generates. */
export type KvRole = 'producer' | 'consumer' | 'both';

export interface KvConnectorOptions {
  readonly chunks: ChunkStore;
  readonly role: KvRole;
  readonly model: ModelIdentity;
  readonly tensorParallelSize: number;
  readonly tensorParallelRank: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Cells of a whole chunk; a multiple of 16. Part of the fingerprint. */
  readonly chunkLength?: number;
  /** Memory for chunks that are being loaded, all requests together. */
  readonly loadByteCountMax?: number;
  readonly deadlines?: Partial<ConnectorDeadlines>;
}

export interface ConnectorDeadlines {
  readonly lookupMs: number;
  readonly loadBaseMs: number;
  readonly loadMsPerGigabyte: number;
  /** How long the answer to a prompt waits for its chunks to be stored. */
  readonly handOverMs: number;
}

const defaultDeadlines: ConnectorDeadlines = {
  lookupMs: 100,
  loadBaseMs: 1_000,
  loadMsPerGigabyte: 1_000,
  handOverMs: 2_000,
};

/** A full store evicts at once, so a short wait is worth it; a store full of leases is not waited for. */
const noSpaceRetryCountMax = 4;
const pollMinMs = 10;
const pollMaxMs = 100;

/** The engine's prefix store over chunks in a store: prefix cache and hand-over are the same thing. */
export class KvConnector implements PrefixStore {
  readonly #options: KvConnectorOptions;
  readonly #chunkLength: number;
  readonly #deadlines: ConnectorDeadlines;
  readonly #reader: ChunkReader;
  readonly #fingerprints = new WeakMap<SequenceLayout, string>();
  readonly #counters = newConnectorCounters();

  constructor(options: KvConnectorOptions) {
    this.#options = options;
    this.#chunkLength = options.chunkLength ?? 256;
    this.#deadlines = { ...defaultDeadlines, ...options.deadlines };
    this.#reader = new ChunkReader({
      chunks: options.chunks,
      pool: new BufferPool({ byteCountMax: options.loadByteCountMax ?? 2 ** 30 }),
      chunkLength: this.#chunkLength,
      deadlines: this.#deadlines,
      clock: options.clock,
      logger: options.logger,
      counters: this.#counters,
    });
  }

  get counters(): Readonly<ConnectorCounters> {
    return this.#counters;
  }

  wants(kind: SavedKind): boolean {
    switch (this.#options.role) {
      case 'consumer':
        return false;
      case 'producer':
        return kind === 'prompt';
      case 'both':
        return true;
    }
  }

  keysOf({ tokens, salt, layout }: Pick<LoadRequest, 'tokens' | 'salt' | 'layout'>): string[] {
    const keys = this.#keysOf(tokens, salt, layout);
    return Array.from({ length: keys.wholeChunkCount }, (_, index) => keys.whole(index).key);
  }

  load({ tokens, salt, layout, signal }: LoadRequest): Promise<LoadedPrefix> {
    const keys = this.#keysOf(tokens, salt, layout);
    return this.#reader.load(keys, tokens.length, layout.cellByteCount, signal);
  }

  async save({ tokens, salt, state, layout, kind, signal }: SaveRequest): Promise<void> {
    if (!this.wants(kind)) return;
    const keys = this.#keysOf(tokens, salt, layout);
    const spans = planSave(keys, tokens.length, this.#chunkLength, kind);
    using limit = deadline(this.#options.clock, this.#deadlines.handOverMs, 'a save', signal);
    const entries = spans.map((span) => entryOf(span, state, layout));
    await this.#put(entries, limit.signal);
  }

  checkInvariants(): void {
    this.#reader.checkInvariants();
  }

  /**
   * Puts until every chunk is stored by somebody, or the signal fires. A key that another writer is
   * at is tried again, not only watched: when that writer gives up, this one takes over.
   */
  async #put(entries: readonly PutEntry[], signal: AbortSignal): Promise<void> {
    const { chunks, clock, logger } = this.#options;
    let pending = entries;
    let noSpaceRetryCount = 0;
    for (let pollMs = pollMinMs; ; pollMs = Math.min(pollMaxMs, pollMs * 2)) {
      const outcomes = await chunks.putIfAbsent(pending, signal);
      const waiting: PutEntry[] = [];
      let spaceIsShort = false;
      for (const [index, entry] of pending.entries()) {
        const outcome = outcomes[index] ?? 'failed';
        if (outcome === 'in-progress') waiting.push(entry);
        else if (outcome === 'no-space' && noSpaceRetryCount < noSpaceRetryCountMax) {
          spaceIsShort = true;
          waiting.push(entry);
        } else this.#count(entry, outcome, signal);
      }
      if (spaceIsShort) noSpaceRetryCount += 1;
      if (waiting.length === 0) return;
      await sleep(clock, pollMs, signal);
      if (signal.aborted) {
        this.#counters.failures['save-deadline'] += waiting.length;
        logger.warn('kv.save_unfinished', { chunkCount: waiting.length });
        return;
      }
      pending = waiting;
    }
  }

  #count(entry: PutEntry, outcome: Exclude<PutOutcome, 'in-progress'>, signal: AbortSignal): void {
    switch (outcome) {
      case 'stored':
        this.#counters.storedChunkCount += 1;
        this.#counters.storedByteCount += entry.byteCount;
        return;
      case 'present':
        this.#counters.presentChunkCount += 1;
        return;
      case 'no-space':
        this.#counters.failures['no-space'] += 1;
        return;
      case 'failed':
        this.#counters.failures[signal.aborted ? 'save-deadline' : 'put'] += 1;
    }
  }

  #keysOf(tokens: Int32Array, salt: string, layout: SequenceLayout): ChunkKeys {
    const { model, tensorParallelSize, tensorParallelRank } = this.#options;
    const chunkLength = this.#chunkLength;
    const known = this.#fingerprints.get(layout);
    const hex = known ?? fingerprint({ ...model, layout, chunkLength, tensorParallelSize });
    if (known === undefined) this.#fingerprints.set(layout, hex);
    return new ChunkKeys({ fingerprint: hex, tensorParallelRank, chunkLength }, tokens, salt);
  }
}

/** Cuts straight into the memory the store gives, which may be the segment itself. */
function entryOf(span: ChunkSpan, state: Buffer, layout: SequenceLayout): PutEntry {
  return {
    key: span.key,
    byteCount: chunkHeaderByteCount + span.cells * layout.cellByteCount,
    fill(destination) {
      const payload = destination.subarray(chunkHeaderByteCount);
      cutChunk(state, layout, span.firstCell, span.firstCell + span.cells, payload);
      sealChunk(destination, span.key, span.cells);
    },
  };
}
