import { below, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { Arena } from '../src/core/arena.ts';

describe('Arena', () => {
  it('gives parts until none is left', () => {
    const arena = new Arena(100, 10);
    expect([arena.take(45), arena.take(50), arena.take(1)]).toEqual([0, 50, null]);
    arena.giveBack(0);
    expect(arena.take(60)).toBeNull();
    arena.giveBack(50);
    expect(arena.take(100)).toBe(0);
  });

  it.each(Array.from({ length: 20 }, (_, seed) => seed))('loses nothing, seed %i', (seed) => {
    const random = new SeededRandom(seed);
    const arena = new Arena(1_000, 10);
    const taken = new Map<number, number>();
    for (let step = 0; step < 500; step++) {
      const [first] = taken.keys();
      if (below(random, 2) === 0 && first !== undefined) {
        arena.giveBack(first);
        taken.delete(first);
      } else {
        const byteCount = 1 + below(random, 200);
        const offset = arena.take(byteCount);
        if (offset !== null) taken.set(offset, byteCount);
      }
      arena.checkInvariants();
      expect(arena.takenCount).toBe(taken.size);
    }
  });
});
