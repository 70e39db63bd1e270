import { blockCountMax } from '../core/block-hashes.ts';

/** A beginning of a text, and the block of tokens that ends there or shortly before. */
export interface KnownPrefix {
  /** Blocks of text. */
  readonly blockCount: number;
  /** Of the block of tokens, by which the engine knows it and all before it. */
  readonly hash: string;
}

/** Some 10 MB. */
const knownCountMax = 65_536;

/**
 * Which blocks of tokens earlier prompts were made into, so that a store can be asked about a new prompt whose
 * tokens nobody has told yet. Texts are known by the hashes of `core/block-hashes.ts`.
 */
export class StoredPrefixes {
  /** By the hash of the text; those that were learnt last come last. */
  readonly #known = new Map<number, string>();

  /** `tokenHashes`: of all full blocks of tokens, in order. Tokens are taken to be spread evenly over the text. */
  learn(textHashes: readonly number[], tokenHashes: readonly string[]): void {
    // Of a longer text it is not known how many tokens it goes on for.
    if (textHashes.length >= blockCountMax) return;
    // What follows the last whole block of text counts as one more, so that no block is taken for shorter.
    const share = tokenHashes.length / (textHashes.length + 1);
    textHashes.forEach((textHash, at) => {
      const hash = tokenHashes[Math.floor((at + 1) * share) - 1];
      this.#known.delete(textHash);
      if (hash !== undefined) this.#known.set(textHash, hash);
    });
    for (const [oldest] of this.#known) {
      if (this.#known.size <= knownCountMax) break;
      this.#known.delete(oldest);
    }
  }

  /** What is known of a text, from the shortest to the longest; of more than `countMax` a sample with the longest. */
  of(textHashes: readonly number[], countMax: number): KnownPrefix[] {
    const known: KnownPrefix[] = [];
    textHashes.forEach((textHash, at) => {
      const hash = this.#known.get(textHash);
      if (hash === undefined) return;
      if (known.at(-1)?.hash === hash) known.pop();
      known.push({ blockCount: at + 1, hash });
    });
    return sampled(known, countMax);
  }
}

/** Of a long list a sample of at most `countMax`, with the last one in it. */
export function sampled<T>(all: readonly T[], countMax: number): T[] {
  const step = Math.max(1, Math.ceil(all.length / countMax));
  return all.filter((_, at) => (all.length - 1 - at) % step === 0);
}
