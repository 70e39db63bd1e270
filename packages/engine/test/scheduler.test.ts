import { below, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { type RequestId, Scheduler } from '../src/core/scheduler.ts';

const defaults = {
  slotCount: 4,
  cellsPerSlot: 1_000,
  waitingCountMax: 2,
  prefillBudget: 100,
  firstMilestone: 512,
};
const id = (number: number) => number as RequestId;

/** A scheduler with these prompts in its slots, nothing loaded. */
function withPrompts(tokenCounts: number[], options = {}): Scheduler {
  const scheduler = new Scheduler({ ...defaults, ...options });
  for (const [index, count] of tokenCounts.entries()) scheduler.submit(id(index), count);
  for (const admitted of scheduler.admit()) scheduler.loaded(admitted.id, 0);
  return scheduler;
}

describe('Scheduler', () => {
  it('computes a row of every decoding slot in each step, and prompts within the budget', () => {
    const scheduler = withPrompts([1, 900, 1]);
    scheduler.computed(scheduler.plan().rows);
    const plan = scheduler.plan();
    expect(plan.rows.map(({ slot, kind, count, output }) => [slot, kind, count, output])).toEqual([
      [0, 'decode', 1, true],
      [1, 'prefill', 100, false],
      [2, 'decode', 1, true],
    ]);
    expect(plan).toMatchObject({ prefillCount: 100, decodeCount: 2 });
  });

  it('shares the budget equally and gives what a short prompt leaves to the others', () => {
    const counts = (scheduler: Scheduler) => scheduler.plan().rows.map(({ count }) => count);
    expect(counts(withPrompts([300, 300]))).toEqual([50, 50]);
    expect(counts(withPrompts([300, 10, 300]))).toEqual([45, 10, 45]);
    expect(counts(withPrompts([30, 10, 20]))).toEqual([30, 10, 20]);
  });

  it('starves no prompt when the budget is smaller than the number of prompts', () => {
    const scheduler = withPrompts([9, 9, 9, 9], { prefillBudget: 2 });
    for (let step = 0; step < 18; step++) {
      const plan = scheduler.plan();
      expect(plan.prefillCount).toBe(2);
      scheduler.computed(plan.rows);
    }
    expect(scheduler.slots.every((slot) => slot.kind === 'decode')).toBe(true);
  });

  it('stops a prompt at each milestone', () => {
    const scheduler = withPrompts([900], { prefillBudget: 300, firstMilestone: 256 });
    const reached: number[] = [];
    while (scheduler.slots[0]?.kind === 'prefill') {
      const plan = scheduler.plan();
      scheduler.computed(plan.rows);
      reached.push((plan.rows[0]?.from ?? 0) + (plan.rows[0]?.count ?? 0));
    }
    expect(reached).toEqual([256, 512, 812, 900]);
  });

  it('refuses a request when all slots are taken and the queue is full', () => {
    const scheduler = new Scheduler(defaults);
    for (let number = 0; number < 6; number++) scheduler.submit(id(number), 5);
    expect(() => scheduler.submit(id(6), 5)).toThrow(
      expect.objectContaining({ code: 'OVERLOADED' }),
    );
    expect(scheduler.admit().map((entry) => entry.slot)).toEqual([0, 1, 2, 3]);
    expect(() => scheduler.submit(id(7), 5)).toThrow(/come back later/);
    scheduler.remove(id(5));
    scheduler.submit(id(8), 5);
    scheduler.remove(id(2));
    expect(scheduler.admit()).toEqual([{ id: id(4), slot: 2 }]);
  });

  it('computes nothing for a request that loads or is held', () => {
    const scheduler = new Scheduler(defaults);
    scheduler.submit(id(1), 40);
    scheduler.admit();
    expect(scheduler.plan().rows).toEqual([]);
    scheduler.loaded(id(1), 39);
    expect(scheduler.plan().rows).toMatchObject([{ from: 39, count: 1, output: true }]);
    scheduler.computed(scheduler.plan().rows);
    scheduler.hold(id(1));
    expect(scheduler.plan().rows).toEqual([]);
    scheduler.release(id(1));
    expect(scheduler.plan().rows).toMatchObject([{ kind: 'decode', from: 40, count: 1 }]);
  });

  it('keeps its invariants whatever happens in whatever order', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new SeededRandom(seed);
      const scheduler = new Scheduler({ ...defaults, prefillBudget: 1 + below(random, 120) });
      const live = new Set<RequestId>();
      for (let step = 0; step < 200; step++) {
        const number = id(seed * 1_000 + step);
        if (below(random, 3) === 0) {
          try {
            scheduler.submit(number, 1 + below(random, 700));
            live.add(number);
          } catch (error) {
            expect(error).toMatchObject({ code: 'OVERLOADED' });
          }
        }
        scheduler.admit();
        for (const slot of scheduler.slots) {
          const chance = below(random, 8);
          if (slot.kind === 'free') continue;
          if (chance === 0 || ('computed' in slot && slot.computed >= 999)) {
            scheduler.remove(slot.id);
            live.delete(slot.id);
          } else if (slot.kind === 'loading' && chance < 5) {
            scheduler.loaded(slot.id, below(random, slot.target));
          } else if (slot.kind === 'held') scheduler.release(slot.id);
          else if (slot.kind === 'decode' && chance === 1) scheduler.hold(slot.id);
        }
        const plan = scheduler.plan();
        scheduler.computed(plan.rows);
        scheduler.checkInvariants();
        expect(scheduler.runningCount + scheduler.waitingCount).toBe(live.size);
      }
    }
  });
});
