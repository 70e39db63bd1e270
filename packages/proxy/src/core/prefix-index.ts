import { assert } from '@tsukimi/base';

export interface PrefixIndexOptions {
  /** Blocks that one instance is taken to hold; the least recently used are forgotten. */
  readonly instanceBlockCountMax: number;
  /** Blocks of all instances together; the room of each shrinks as they become more. */
  readonly blockCountMax: number;
}

/** Some two million tokens for an instance, and about 40 MB of memory for all. */
const prefixIndexDefaults: PrefixIndexOptions = {
  instanceBlockCountMax: 32_768,
  blockCountMax: 1_048_576,
};

/**
 * Which prefixes each instance should have in its cache, from what was sent there: an approximate
 * radix tree. As a block's hash covers all before it, a set of hashes is enough for the tree. A block
 * is always forgotten before the one that it follows, as in an engine; so what an instance holds of a
 * prompt has no gaps, and its end is found by bisection.
 */
export class PrefixIndex {
  readonly #options: PrefixIndexOptions;
  /** By the `order` of the instance; each set from the least to the most recently used block. */
  readonly #held = new Map<number, Set<number>>();

  constructor(options: PrefixIndexOptions = prefixIndexDefaults) {
    this.#options = options;
  }

  get blockCount(): number {
    let count = 0;
    for (const held of this.#held.values()) count += held.size;
    return count;
  }

  /** How many of the leading blocks the instance holds. */
  heldBlockCount(order: number, hashes: readonly number[]): number {
    const held = this.#held.get(order);
    if (held === undefined) return 0;
    let low = 0;
    let high = hashes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (held.has(hashes[middle] as number)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The prompt was sent there: all of its blocks are in use now. */
  dispatched(order: number, hashes: readonly number[]): void {
    if (hashes.length === 0) return;
    let held = this.#held.get(order);
    if (held === undefined) {
      held = new Set();
      this.#held.set(order, held);
      for (const one of this.#held.values()) this.#trim(one);
    }
    // From the last to the first, so that what follows is older than what it follows.
    for (let at = Math.min(hashes.length, this.#room()) - 1; at >= 0; at -= 1) {
      const hash = hashes[at] as number;
      held.delete(hash);
      held.add(hash);
    }
    this.#trim(held);
  }

  /** The instance is gone, or is another engine now: its cache is empty. */
  forget(order: number): void {
    this.#held.delete(order);
  }

  checkInvariants(): void {
    const room = this.#room();
    for (const held of this.#held.values()) assert(held.size <= room, 'each keeps to its room');
    assert(
      this.blockCount <= Math.max(this.#options.blockCountMax, this.#held.size),
      'all keep to the bound of memory',
    );
  }

  #room(): number {
    const { instanceBlockCountMax, blockCountMax } = this.#options;
    return Math.max(
      1,
      Math.min(instanceBlockCountMax, Math.floor(blockCountMax / Math.max(1, this.#held.size))),
    );
  }

  #trim(held: Set<number>): void {
    const room = this.#room();
    for (const hash of held) {
      if (held.size <= room) return;
      held.delete(hash);
    }
  }
}
