import { below, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { BlockCache } from '../block-cache.ts';

describe('BlockCache', () => {
  it('lets the least recently used leave, and the end of a chain before its beginning', () => {
    const cache = new BlockCache(4);
    cache.put([1, 2]);
    cache.put([3, 4]);
    cache.put([1, 5]);
    expect([1, 2, 3, 4, 5].filter((block) => cache.has(block))).toEqual([1, 3, 4, 5]);
    cache.put([6]);
    expect([1, 3, 4, 5, 6].filter((block) => cache.has(block))).toEqual([1, 3, 5, 6]);
    expect(cache.leadingCount([1, 5, 2, 6])).toBe(2);
  });

  it('keeps what is in use, and refuses what there is no room for', () => {
    const cache = new BlockCache(4);
    expect(cache.hold([1, 2], 0, 3)).toBe(true);
    cache.fill([1, 2], 0);
    expect(cache.hold([8, 9], 0, 2)).toBe(false);
    cache.put([8, 9]);
    expect([8, 9].filter((block) => cache.has(block))).toEqual([8]);
    expect(cache.leadingCount([1, 2])).toBe(2);
    cache.release([1, 2], 1, true);
    expect(cache.hold([8, 9], 1, 3)).toBe(true);
    expect([1, 2].some((block) => cache.has(block))).toBe(false);
  });

  it('never holds more than fits, whatever is asked of it', () => {
    const random = new SeededRandom(11);
    const cache = new BlockCache(20);
    const held: (readonly number[])[] = [];
    let refusedCount = 0;
    for (let turn = 0; turn < 5_000; turn++) {
      const blocks = Array.from(
        { length: 1 + below(random, 6) },
        (_, at) => below(random, 9) * 10 + at,
      );
      const hitCount = cache.leadingCount(blocks);
      if (cache.hold(blocks, hitCount, blocks.length - hitCount + 1)) {
        cache.fill(blocks, hitCount);
        expect(cache.leadingCount(blocks)).toBe(blocks.length);
        held.push(blocks);
      } else refusedCount += 1;
      while (held.length > below(random, 6)) cache.release(held.shift() ?? [], 1, turn % 3 > 0);
      cache.checkInvariants();
    }
    expect(refusedCount).toBeGreaterThan(100);
  });
});
