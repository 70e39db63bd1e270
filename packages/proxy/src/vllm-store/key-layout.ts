import { BlockHasher, defaultHashSeed, type HashExtras } from './block-hash.ts';

/** Block sizes that engines are started with. */
const blockSizes = [16, 32, 64, 128, 256, 512, 1_024];
/** So much of a hash tells it from all others. */
const tellingDigitCount = 16;

/** How the instances name what they store; the same for all that share KVCache. */
export interface KeyLayout {
  readonly hasher: BlockHasher;
  /** Tokens of a block. */
  readonly blockSize: number;
  /**
   * What stands before the hash: each rank of tensor, pipeline and context parallelism and each group of
   * layers has a key of its own for a block.
   */
  readonly prefixes: readonly string[];
}

/** One guess at how a prompt's first block is hashed. */
interface Candidate {
  readonly hasher: BlockHasher;
  readonly blockSize: number;
  readonly hash: string;
}

/**
 * Finds the layout in keys that are there. They are named `PREFIX@HASH`, where all but the hash depends on
 * how the engine was started; but which hashes the first block of a known prompt can have is known for
 * each algorithm, seed and block size, so its key tells them all. The name is that of `PoolKey` in vLLM's
 * `kv_connector/v1/mooncake/store/data.py`.
 */
export class KeyLayoutSearch {
  readonly #candidates: readonly Candidate[];

  constructor(hashers: readonly BlockHasher[], tokenIds: readonly number[], extras: HashExtras) {
    this.#candidates = blockSizes
      // A block that has the prompt's last token may never be asked for.
      .filter((blockSize) => blockSize < tokenIds.length)
      .flatMap((blockSize) =>
        hashers.map((hasher) => {
          const [hash = ''] = hasher.hashes(tokenIds, blockSize, 1, extras);
          return { hasher, blockSize, hash };
        }),
      );
  }

  /** No block is full in so short a prompt. */
  get isHopeless(): boolean {
    return this.#candidates.length === 0;
  }

  /** Finds the keys by any candidate. */
  get pattern(): string {
    const hashes = this.#candidates.map(({ hash }) => hash.slice(0, tellingDigitCount));
    return `@(?:${hashes.join('|')})[0-9a-f]*$`;
  }

  /** From the keys that the pattern found; null where none is a candidate's. */
  layoutIn(keys: readonly string[]): KeyLayout | null {
    for (const { hasher, blockSize, hash } of this.#candidates) {
      const prefixes = keys
        .filter((key) => key.endsWith(`@${hash}`))
        .map((key) => key.slice(0, -hash.length));
      if (prefixes.length > 0) return { hasher, blockSize, prefixes: prefixes.toSorted() };
    }
    return null;
  }
}

/** Every algorithm with every seed that instances may have been started with. */
export function hashersFor(seed: string | null): readonly BlockHasher[] {
  const seeds = new Set([defaultHashSeed, '0', ...(seed === null ? [] : [seed])]);
  return [...seeds].flatMap((one) => [
    new BlockHasher('sha256', one),
    new BlockHasher('sha256_cbor', one),
  ]);
}

/**
 * What a decode instance looks for, block by block: the full blocks before the prompt's last token, which
 * it computes in any case.
 */
export function awaitedHashes(
  { hasher, blockSize }: KeyLayout,
  tokenIds: readonly number[],
  extras: HashExtras,
): readonly string[] {
  const blockCount = Math.floor((tokenIds.length - 1) / blockSize);
  return hasher.hashes(tokenIds, blockSize, blockCount, extras);
}
