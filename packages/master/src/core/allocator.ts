import { assert } from '@tsukimi/base';
import { FreeTree, type TreeLinks } from './free-tree.ts';

/**
 * A run of bytes in a segment, free or in use. Blocks tile the segment: each knows its neighbours by
 * address, so that freeing joins what lies side by side.
 */
export interface Block<H> extends TreeLinks<Block<H>> {
  offset: number;
  byteCount: number;
  inUse: boolean;
  /** Who uses it: set by whoever allocated it. */
  holder: H | null;
  before: Block<H> | null;
  after: Block<H> | null;
}

/**
 * Hands out runs of bytes of one segment, down to single bytes: the smallest free run that fits, the
 * lowest address among equals, nothing rounded. Every operation is O(log of the free runs).
 */
export class OffsetAllocator<H> {
  readonly capacity: number;
  readonly #free = new FreeTree<Block<H>>();
  #first: Block<H>;
  #last: Block<H>;
  #usedByteCount = 0;
  #usedBlockCount = 0;

  constructor(capacity: number) {
    assert(Number.isSafeInteger(capacity) && capacity > 0, 'a segment has a positive safe size');
    this.capacity = capacity;
    this.#first = freeBlock(0, capacity, null, null);
    this.#last = this.#first;
    this.#free.insert(this.#first);
  }

  get usedByteCount(): number {
    return this.#usedByteCount;
  }

  get usedBlockCount(): number {
    return this.#usedBlockCount;
  }

  /** Null when no free run is long enough. */
  allocate(byteCount: number): Block<H> | null {
    assert(byteCount > 0, 'a block has bytes');
    const block = this.#free.smallestOf(byteCount);
    return block === null ? null : this.#allocateFrom(block, byteCount);
  }

  /**
   * Takes a certain run, behind all that is in use: so that blocks that are known can be had again, in
   * the order of their addresses. Null when the run is not free.
   */
  allocateAt(offset: number, byteCount: number): Block<H> | null {
    const rest = this.#last;
    if (rest.inUse || offset < rest.offset || byteCount < 1) return null;
    if (offset + byteCount > rest.offset + rest.byteCount) return null;
    if (offset > rest.offset) {
      const gap = this.#allocateFrom(rest, offset - rest.offset);
      const block = this.allocateAt(offset, byteCount);
      this.release(gap);
      return block;
    }
    return this.#allocateFrom(rest, byteCount);
  }

  /** The block must not be used afterwards: it may have become part of another. */
  release(block: Block<H>): void {
    assert(block.inUse, 'a block is released once');
    block.inUse = false;
    block.holder = null;
    this.#usedByteCount -= block.byteCount;
    this.#usedBlockCount -= 1;
    const { before, after } = block;
    if (after !== null && !after.inUse) {
      this.#free.remove(after);
      block.byteCount += after.byteCount;
      this.#unlink(after);
    }
    if (before !== null && !before.inUse) {
      this.#free.remove(before);
      block.offset = before.offset;
      block.byteCount += before.byteCount;
      this.#unlink(before);
    }
    this.#free.insert(block);
  }

  /** Everybody who holds a block, by address. */
  holders(): H[] {
    const holders: H[] = [];
    for (let block: Block<H> | null = this.#first; block !== null; block = block.after) {
      if (block.holder !== null) holders.push(block.holder);
    }
    return holders;
  }

  checkInvariants(): void {
    let offset = 0;
    let usedByteCount = 0;
    let usedBlockCount = 0;
    let freeBlockCount = 0;
    let before: Block<H> | null = null;
    for (let block: Block<H> | null = this.#first; block !== null; block = block.after) {
      assert(block.offset === offset && block.byteCount > 0, 'blocks tile the segment');
      assert(block.before === before, 'neighbours know each other');
      assert(block.inUse === (block.holder !== null), 'who uses a block is known');
      if (!block.inUse) {
        freeBlockCount += 1;
        assert(before === null || before.inUse, 'free neighbours are joined');
      } else {
        usedByteCount += block.byteCount;
        usedBlockCount += 1;
      }
      offset += block.byteCount;
      before = block;
    }
    assert(before === this.#last, 'the last block is known');
    assert(offset === this.capacity, 'free and used bytes add up to the capacity');
    assert(usedByteCount === this.#usedByteCount, 'the used bytes are counted');
    assert(usedBlockCount === this.#usedBlockCount, 'the used blocks are counted');
    assert(this.#free.checkInvariants() === freeBlockCount, 'each free block is in the tree');
  }

  /** Cuts the first bytes off a free block. */
  #allocateFrom(block: Block<H>, byteCount: number): Block<H> {
    this.#free.remove(block);
    const restByteCount = block.byteCount - byteCount;
    if (restByteCount > 0) {
      const rest = freeBlock<H>(block.offset + byteCount, restByteCount, block, block.after);
      if (block.after === null) this.#last = rest;
      else block.after.before = rest;
      block.after = rest;
      block.byteCount = byteCount;
      this.#free.insert(rest);
    }
    block.inUse = true;
    this.#usedByteCount += byteCount;
    this.#usedBlockCount += 1;
    return block;
  }

  #unlink(block: Block<H>): void {
    if (block.before === null) this.#first = block.after as Block<H>;
    else block.before.after = block.after;
    if (block.after === null) this.#last = block.before as Block<H>;
    else block.after.before = block.before;
  }
}

function freeBlock<H>(
  offset: number,
  byteCount: number,
  before: Block<H> | null,
  after: Block<H> | null,
): Block<H> {
  return {
    offset,
    byteCount,
    inUse: false,
    holder: null,
    before,
    after,
    smaller: null,
    larger: null,
    priority: 0,
  };
}
