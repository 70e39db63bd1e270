import { describe, expect, it } from 'vitest';
import { leastLoad, roundRobin } from '../src/core/policies.ts';

const candidate = (order: number, activeRequestCount = 0, activeTokenCount = 0) => ({
  order,
  activeRequestCount,
  activeTokenCount,
});

describe('roundRobin', () => {
  it('takes turns, also when somebody is missing', () => {
    const all = [candidate(0), candidate(1), candidate(4)];
    const turn = (lastOrder: number, candidates = all) =>
      roundRobin({ candidates, lastOrder }).order;
    expect([turn(-1), turn(0), turn(1), turn(4)]).toEqual([0, 1, 4, 0]);
    expect(turn(0, [candidate(0), candidate(4)])).toBe(4);
  });
});

describe('leastLoad', () => {
  it('prefers few requests, then few tokens, then whose turn it is', () => {
    const of = (...candidates: ReturnType<typeof candidate>[]) =>
      leastLoad({ candidates, lastOrder: 1 }).order;
    expect(of(candidate(0, 2), candidate(1, 1, 900), candidate(2, 3))).toBe(1);
    expect(of(candidate(0, 1, 50), candidate(1, 1, 20))).toBe(1);
    expect(of(candidate(0), candidate(1), candidate(2), candidate(3))).toBe(2);
    expect(of(candidate(0), candidate(1))).toBe(0);
  });
});
