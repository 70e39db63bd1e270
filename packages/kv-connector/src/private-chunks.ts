import { assert } from '@tsukimi/base';
import { BufferPool, type PooledBuffer, type PutEntry, type PutOutcome } from '@tsukimi/store';
import type { ChunkStore, FoundChunk } from './chunk-store.ts';

export interface PrivateChunksOptions {
  /** Upper limit for the memory of all chunks together. */
  readonly byteCountMax: number;
}

/** Chunks in the memory of this process; the least recently used make room. */
export class PrivateChunks implements ChunkStore {
  readonly #pool: BufferPool;
  /** Least recently used first. */
  readonly #chunks = new Map<string, PooledBuffer>();

  constructor({ byteCountMax }: PrivateChunksOptions) {
    this.#pool = new BufferPool({ byteCountMax });
  }

  get chunkCount(): number {
    return this.#chunks.size;
  }

  get byteCount(): number {
    return this.#pool.lentByteCount;
  }

  find(keys: readonly string[]): Promise<(FoundChunk | null)[]> {
    this.#touch(keys);
    return Promise.resolve(
      keys.map((key) => {
        const chunk = this.#chunks.get(key);
        if (chunk === undefined) return null;
        return {
          byteCount: chunk.bytes.length,
          read: (into) => {
            // Its memory may belong to another chunk by now.
            if (this.#chunks.get(key) !== chunk) return Promise.resolve('failed');
            chunk.bytes.copy(into);
            return Promise.resolve('read');
          },
        } satisfies FoundChunk;
      }),
    );
  }

  putIfAbsent(entries: readonly PutEntry[], signal: AbortSignal): Promise<PutOutcome[]> {
    const batch = new Set(entries.map((entry) => entry.key));
    const outcomes = entries.map((entry): PutOutcome => {
      if (signal.aborted) return 'failed';
      if (this.#chunks.has(entry.key)) return 'present';
      const memory = this.#makeRoom(entry.byteCount, batch);
      if (memory === null) return 'no-space';
      entry.fill(memory.bytes);
      this.#chunks.set(entry.key, memory);
      return 'stored';
    });
    this.#touch(entries.map((entry) => entry.key));
    return Promise.resolve(outcomes);
  }

  discard(key: string): Promise<void> {
    const chunk = this.#chunks.get(key);
    this.#chunks.delete(key);
    chunk?.release();
    return Promise.resolve();
  }

  checkInvariants(): void {
    this.#pool.checkInvariants();
    const held = [...this.#chunks.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
    assert(held <= this.#pool.lentByteCount, 'every chunk lies in memory of the pool');
    assert(this.#chunks.size > 0 || this.#pool.lentByteCount === 0, 'no chunks, no memory');
  }

  /** The first key becomes the most recent one: a chain is of no use without its beginning. */
  #touch(keys: readonly string[]): void {
    for (const key of keys.toReversed()) {
      const chunk = this.#chunks.get(key);
      if (chunk === undefined) continue;
      this.#chunks.delete(key);
      this.#chunks.set(key, chunk);
    }
  }

  /** Null when only chunks of the same batch are left to go: a chain does not push out its own beginning. */
  #makeRoom(byteCount: number, batch: ReadonlySet<string>): PooledBuffer | null {
    for (;;) {
      const memory = this.#pool.tryTake(byteCount);
      if (memory !== null) return memory;
      const oldest = this.#chunks.entries().next().value;
      if (oldest === undefined || batch.has(oldest[0])) return null;
      this.#chunks.delete(oldest[0]);
      oldest[1].release();
    }
  }
}
