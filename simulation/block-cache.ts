import { assert } from '@tsukimi/base';

/**
 * Which blocks of KV lie in a bounded memory. Those in use are pinned, as often as they are used; the
 * others leave, the one used longest ago first, when room is needed.
 */
export class BlockCache {
  readonly #blockCountMax: number;
  readonly #pins = new Map<number, number>();
  /** In the order of their last use. */
  readonly #idle = new Set<number>();
  /** Blocks that will be filled, or that nobody can find. */
  #reservedCount = 0;

  constructor(blockCountMax: number) {
    this.#blockCountMax = blockCountMax;
  }

  get blockCount(): number {
    return this.#pins.size + this.#idle.size;
  }

  has(block: number): boolean {
    return this.#pins.has(block) || this.#idle.has(block);
  }

  /** How many of `blocks`, from the first on, are here without a gap. */
  leadingCount(blocks: readonly number[], from = 0): number {
    let count = from;
    while (count < blocks.length && this.has(blocks[count] as number)) count += 1;
    return count;
  }

  /**
   * Pins the first `hitCount` of `blocks`, which are here, and sets room aside for `newCount` more.
   * False, and nothing has changed, when what is in use leaves too little room.
   */
  hold(blocks: readonly number[], hitCount: number, newCount: number): boolean {
    let pinnedAnew = 0;
    for (let at = 0; at < hitCount; at++) {
      if (!this.#pins.has(blocks[at] as number)) pinnedAnew += 1;
    }
    const inUse = this.#pins.size + pinnedAnew + this.#reservedCount + newCount;
    if (inUse > this.#blockCountMax) return false;
    for (let at = 0; at < hitCount; at++) this.#pin(blocks[at] as number);
    this.#reservedCount += newCount;
    this.#evict();
    return true;
  }

  /** Blocks `[from, blocks.length)` are computed or loaded, in room that was set aside. They stay pinned. */
  fill(blocks: readonly number[], from: number): void {
    this.#reservedCount -= blocks.length - from;
    for (let at = from; at < blocks.length; at++) this.#pin(blocks[at] as number);
    this.checkInvariants();
  }

  /** Ends a use. What is `kept` may be found again; the end of a chain leaves before its beginning. */
  release(blocks: readonly number[], reservedCount: number, kept: boolean): void {
    this.#reservedCount -= reservedCount;
    for (let at = blocks.length - 1; at >= 0; at--) {
      const block = blocks[at] as number;
      const pins = this.#pins.get(block) as number;
      if (pins > 1) this.#pins.set(block, pins - 1);
      else {
        this.#pins.delete(block);
        if (kept) this.#idle.add(block);
      }
    }
    this.checkInvariants();
  }

  /** Puts `blocks` in, unpinned; those that are here count as used now. */
  put(blocks: readonly number[]): void {
    if (this.#blockCountMax === 0) return;
    for (let at = blocks.length - 1; at >= 0; at--) {
      const block = blocks[at] as number;
      this.#idle.delete(block);
      this.#idle.add(block);
    }
    this.#evict();
  }

  checkInvariants(): void {
    assert(this.#reservedCount >= 0, 'no room is given back twice');
    assert(
      this.blockCount + this.#reservedCount <= this.#blockCountMax,
      'no more blocks than there is room for',
    );
  }

  #pin(block: number): void {
    this.#idle.delete(block);
    this.#pins.set(block, (this.#pins.get(block) ?? 0) + 1);
  }

  #evict(): void {
    const room = this.#blockCountMax - this.#reservedCount - this.#pins.size;
    for (const block of this.#idle) {
      if (this.#idle.size <= room) break;
      this.#idle.delete(block);
    }
  }
}
