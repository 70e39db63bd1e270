import { describe, expect, it } from 'vitest';
import { KeyIndex } from '../../src/core/key-index.ts';

describe('KeyIndex', () => {
  it('behaves like a map however often keys come and go', () => {
    const index = new KeyIndex<{ step: number }>();
    const plain = new Map<string, { step: number }>();
    for (let step = 0; step < 20_000; step += 1) {
      const key = `k${(step * 7) % (step % 3 === 0 ? 5 : 3_000)}`;
      if (plain.has(key)) {
        index.remove(key);
        plain.delete(key);
      } else {
        index.add(key, { step });
        plain.set(key, { step });
      }
      expect(index.get(key)).toEqual(plain.get(key));
      expect(index.count).toBe(plain.size);
      if (step % 500 === 0) index.checkInvariants();
    }
    expect([...index.keys()].toSorted()).toEqual([...plain.keys()].toSorted());
    expect([...index.values()]).toHaveLength(plain.size);
  });
});
