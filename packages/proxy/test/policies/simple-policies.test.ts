import { SeededRandom } from '@tsukimi/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { policies } from '../../src/core/policies/by-name.ts';
import { leastLoad } from '../../src/core/policies/least-load.ts';
import { type Candidate, isLessBusy } from '../../src/core/policies/policy.ts';
import { powerOfTwo } from '../../src/core/policies/power-of-two.ts';
import { random } from '../../src/core/policies/random.ts';
import { roundRobin } from '../../src/core/policies/round-robin.ts';
import { anySnapshot, candidate, snapshot } from './candidates.ts';

describe('every policy', () => {
  it.each(Object.entries(policies))(
    '%s chooses one of the candidates, the same again',
    (_, policy) => {
      fc.assert(
        fc.property(anySnapshot, (given) => {
          const { instance, reason, hitTokenCount } = policy.choose(given);
          expect(given.candidates).toContain(instance);
          expect(reason).toMatch(/^[a-z_]{1,32}$/);
          expect(hitTokenCount).toBeGreaterThanOrEqual(0);
          expect(policy.choose(given).instance).toBe(instance);
        }),
      );
    },
  );
});

describe('roundRobin', () => {
  /** Turns as the pool gives them; `present` says who can be had each time. */
  function turns(presences: readonly (readonly number[])[]): number[] {
    const lastTurns = new Map<number, number>();
    return presences.map((present, at) => {
      const candidates = present.map((order) =>
        candidate(order, { lastTurn: lastTurns.get(order) ?? 0 }),
      );
      const { order } = roundRobin.choose(snapshot(candidates)).instance;
      lastTurns.set(order, at + 1);
      return order;
    });
  }

  it('takes turns in the order of joining', () => {
    expect(turns(Array.from({ length: 6 }, () => [0, 1, 4]))).toEqual([0, 1, 4, 0, 1, 4]);
  });

  it('lets one that joins in, and asks one that was away no more often than the others', () => {
    const presences = [
      [0, 1],
      [0, 1],
      [0, 1, 2],
      [0, 1, 2],
      [1, 2],
      [1, 2],
      [0, 1, 2],
      [0, 1, 2],
    ];
    expect(turns(presences)).toEqual([0, 1, 2, 0, 1, 2, 0, 1]);
  });

  it('keeps everybody that stays within one turn of the others, whoever comes and goes', () => {
    const comings = fc.array(fc.subarray([2, 3, 4, 5, 6]), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(comings, (others) => {
        const taken = turns(others.map((some) => [0, 1, ...some]));
        const countOf = (order: number) => taken.filter((one) => one === order).length;
        expect(Math.abs(countOf(0) - countOf(1))).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('leastLoad', () => {
  const chosen = (...candidates: Candidate[]) =>
    leastLoad.choose(snapshot(candidates)).instance.order;

  it('prefers few tokens ahead, then few requests, then whose turn was longest ago', () => {
    const loaded = (order: number, queuedTokenCount: number, activeRequestCount: number) =>
      candidate(order, { queuedTokenCount, activeRequestCount });
    expect(chosen(loaded(0, 900, 1), loaded(1, 100, 5), loaded(2, 0, 9))).toBe(2);
    expect(chosen(loaded(0, 50, 2), loaded(1, 50, 1))).toBe(1);
    expect(chosen(candidate(0, { lastTurn: 5 }), candidate(1, { lastTurn: 3 }))).toBe(1);
  });

  it('counts what is decoded as well as what waits for prefill', () => {
    expect(
      chosen(
        candidate(0, { queuedTokenCount: 10, residentTokenCount: 500 }),
        candidate(1, { queuedTokenCount: 100 }),
      ),
    ).toBe(1);
  });
});

/** How often each of `count` was chosen in many draws. */
function shares(policy: typeof random, candidates: readonly Candidate[]): number[] {
  const source = new SeededRandom(7);
  const counts = candidates.map(() => 0);
  for (let draw = 0; draw < 20_000; draw += 1) {
    const { order } = policy.choose(
      snapshot(candidates, { chance: source.uint32() / 2 ** 32 }),
    ).instance;
    counts[order] = (counts[order] ?? 0) + 1;
  }
  return counts.map((count) => count / 20_000);
}

describe('random', () => {
  it('is even', () => {
    for (const share of shares(
      random,
      [0, 1, 2, 3, 4].map((order) => candidate(order)),
    )) {
      expect(share).toBeCloseTo(0.2, 1);
    }
  });
});

describe('powerOfTwo', () => {
  it('compares each pair as often, and takes the less busy one of it', () => {
    const candidates = [0, 1, 2, 3].map((order) =>
      candidate(order, { queuedTokenCount: order * 100 }),
    );
    // Of six pairs, the idlest wins the three it is in, and the busiest none.
    const [first, second, third, last] = shares(powerOfTwo, candidates);
    expect(first).toBeCloseTo(3 / 6, 1);
    expect(second).toBeCloseTo(2 / 6, 1);
    expect(third).toBeCloseTo(1 / 6, 1);
    expect(last).toBe(0);
  });

  it('never takes the busiest of two or more', () => {
    fc.assert(
      fc.property(anySnapshot, (given) => {
        fc.pre(given.candidates.length > 1);
        const { instance } = powerOfTwo.choose(given);
        expect(given.candidates.some((other) => isLessBusy(instance, other))).toBe(true);
      }),
    );
  });
});
