import type { PutEntry, PutOutcome, StoreClient } from '@tsukimi/store';
import type { ChunkStore, FoundChunk } from './chunk-store.ts';

/** Above every deadline that comes with a signal, so that only those count. */
const findTimeoutMs = 60_000;

/** Chunks in the cluster's store. */
export class StoreChunks implements ChunkStore {
  readonly #store: StoreClient;

  constructor(store: StoreClient) {
    this.#store = store;
  }

  async find(keys: readonly string[], signal: AbortSignal): Promise<(FoundChunk | null)[]> {
    const objects = await this.#store.find(keys, { signal, timeoutMs: findTimeoutMs });
    return objects.map(
      (object) =>
        object && {
          byteCount: object.byteCount,
          read: (into, readSignal) => this.#store.read(object, into, { signal: readSignal }),
        },
    );
  }

  putIfAbsent(entries: readonly PutEntry[], signal: AbortSignal): Promise<PutOutcome[]> {
    return this.#store.putIfAbsent(entries, { signal });
  }

  async discard(key: string, signal: AbortSignal): Promise<void> {
    // The reader's own look-up gave it a lease, which only a forced removal overrides.
    await this.#store.remove(key, { force: true, signal });
  }
}
