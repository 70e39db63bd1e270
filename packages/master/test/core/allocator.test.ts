import { below, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { type Block, OffsetAllocator } from '../../src/core/allocator.ts';

function take(allocator: OffsetAllocator<string>, byteCount: number): Block<string> | null {
  const block = allocator.allocate(byteCount);
  if (block !== null) block.holder = 'test';
  return block;
}

describe('OffsetAllocator', () => {
  it('fills a segment to the last byte, whatever the sizes', () => {
    const allocator = new OffsetAllocator<string>(1_000);
    expect([1, 333, 666].map((size) => take(allocator, size)?.offset)).toEqual([0, 1, 334]);
    expect(take(allocator, 1)).toBeNull();
    expect(allocator.usedByteCount).toBe(1_000);
    allocator.checkInvariants();
  });

  it('takes the shortest hole that fits, and the lowest of equal ones', () => {
    const allocator = new OffsetAllocator<string>(100);
    const blocks = [20, 5, 10, 5, 10, 5].map((size) => take(allocator, size) as Block<string>);
    for (const index of [0, 2, 4]) allocator.release(blocks[index] as Block<string>);
    expect([9, 9, 9].map((size) => take(allocator, size)?.offset)).toEqual([25, 40, 0]);
    allocator.checkInvariants();
  });

  it('joins what is freed with its free neighbours', () => {
    const allocator = new OffsetAllocator<string>(30);
    const blocks = [10, 10, 10].map((size) => take(allocator, size) as Block<string>);
    for (const index of [0, 2, 1]) allocator.release(blocks[index] as Block<string>);
    expect(take(allocator, 30)?.offset).toBe(0);
  });

  it('never gives a byte twice and never loses one', () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      const random = new SeededRandom(seed);
      const allocator = new OffsetAllocator<string>(4_096);
      const bytes = new Uint8Array(4_096);
      const held: Block<string>[] = [];
      for (let step = 0; step < 1_500; step += 1) {
        if (below(random, 5) < 3) {
          const wanted = 1 + below(random, below(random, 4) === 0 ? 500 : 40);
          const block = take(allocator, wanted);
          const longestHole = Math.max(
            0,
            ...String(bytes)
              .replaceAll(',', '')
              .split('1')
              .map((hole) => hole.length),
          );
          expect(block === null).toBe(longestHole < wanted);
          if (block === null) continue;
          expect(
            bytes.subarray(block.offset, block.offset + wanted).every((byte) => byte === 0),
          ).toBe(true);
          bytes.fill(1, block.offset, block.offset + wanted);
          held.push(block);
        } else if (held.length > 0) {
          const [block] = held.splice(below(random, held.length), 1) as [Block<string>];
          bytes.fill(0, block.offset, block.offset + block.byteCount);
          allocator.release(block);
        }
        allocator.checkInvariants();
      }
      for (const block of held) allocator.release(block);
      expect(allocator.usedByteCount).toBe(0);
      expect(take(allocator, 4_096)?.offset).toBe(0);
    }
  });
});
