import { createHash } from 'node:crypto';
import { assert } from '@tsukimi/base';

/** Tails of generated text are cut to this, so that a later reader can guess where they end. */
export const tailStepCells = 16;

export interface ChunkKeysOptions {
  readonly fingerprint: string;
  readonly tensorParallelRank: number;
  /** Cells of a whole chunk; a multiple of `tailStepCells`. */
  readonly chunkLength: number;
}

/** One piece of a token sequence that is stored under one key. */
export interface ChunkSpan {
  readonly key: string;
  readonly firstCell: number;
  readonly cells: number;
}

/**
 * The keys of one token sequence. A key tells model, rank and first position, and ends with a hash
 * that is chained over the salt and all tokens up to the chunk's end: equal keys, equal KV.
 *
 * `tsukimi/<fingerprint>/<rank>/<first position>/<SHA-256 hex>`, where the hash is
 * SHA-256(hash before the chunk, tokens of the chunk as little-endian i32) and the chain begins with
 * SHA-256('tsukimi-kv-1\0', salt as UTF-8).
 */
export class ChunkKeys {
  readonly #options: ChunkKeysOptions;
  readonly #tokens: Int32Array;
  /** Element i is the hash before whole chunk i. Grows as far as it is asked for. */
  readonly #chain: Buffer[];

  constructor(options: ChunkKeysOptions, tokens: Int32Array, salt: string) {
    assert(
      options.chunkLength > 0 && options.chunkLength % tailStepCells === 0,
      `a chunk holds a multiple of ${tailStepCells} cells`,
    );
    this.#options = options;
    this.#tokens = tokens;
    this.#chain = [createHash('sha256').update('tsukimi-kv-1\0').update(salt, 'utf8').digest()];
  }

  get wholeChunkCount(): number {
    return Math.floor(this.#tokens.length / this.#options.chunkLength);
  }

  whole(index: number): ChunkSpan {
    return this.span(index, this.#options.chunkLength);
  }

  /** The first `cells` cells of chunk `index`. */
  span(index: number, cells: number): ChunkSpan {
    const { fingerprint, tensorParallelRank, chunkLength } = this.#options;
    const firstCell = index * chunkLength;
    assert(
      cells > 0 && cells <= chunkLength && firstCell + cells <= this.#tokens.length,
      'a chunk lies within its tokens',
    );
    const hash = this.#hash(index, cells).toString('hex');
    return {
      key: `tsukimi/${fingerprint}/${tensorParallelRank}/${firstCell}/${hash}`,
      firstCell,
      cells,
    };
  }

  #hash(index: number, cells: number): Buffer {
    const { chunkLength } = this.#options;
    for (let known = this.#chain.length; known <= index; known++) {
      this.#chain.push(this.#extend(known - 1, chunkLength));
    }
    return this.#extend(index, cells);
  }

  #extend(index: number, cells: number): Buffer {
    const { chunkLength } = this.#options;
    const before = this.#chain[index];
    assert(before !== undefined, 'the chain is built from its start');
    const bytes = Buffer.allocUnsafe(cells * 4);
    for (let cell = 0; cell < cells; cell++) {
      bytes.writeInt32LE(this.#tokens[index * chunkLength + cell] as number, cell * 4);
    }
    return createHash('sha256').update(before).update(bytes).digest();
  }
}
