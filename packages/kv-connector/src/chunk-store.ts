import type { PutEntry, PutOutcome, ReadOutcome } from '@tsukimi/store';

/**
 * Where chunks are kept: the cluster's store, or the memory of this process. Nothing here rejects:
 * what a store cannot do counts as missing, and the instance computes it.
 */
export interface ChunkStore {
  /** One look-up for all keys, in their order; null is what is not there or could not be asked for. */
  find(keys: readonly string[], signal: AbortSignal): Promise<(FoundChunk | null)[]>;
  /** `fill` is called before the promise settles or never, and only for what was absent. */
  putIfAbsent(entries: readonly PutEntry[], signal: AbortSignal): Promise<PutOutcome[]>;
  /** Removes a chunk that turned out useless, though readers may hold leases on it. */
  discard(key: string, signal: AbortSignal): Promise<void>;
}

export interface FoundChunk {
  readonly byteCount: number;
  /** Copies the chunk; `into` has exactly its length. */
  read(into: Buffer, signal: AbortSignal): Promise<ReadOutcome>;
}
