import { below, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../virtual-clock.ts';

describe('VirtualClock', () => {
  it('wakes in order of time, and of asking where times are equal', () => {
    const clock = new VirtualClock();
    const random = new SeededRandom(3);
    const asked = Array.from({ length: 500 }, (_, order) => ({ order, atMs: below(random, 40) }));
    const woken: { order: number; atMs: number }[] = [];
    for (const one of asked) {
      clock.schedule(one.atMs, () => {
        expect(clock.monotonicMs()).toBe(one.atMs);
        woken.push(one);
      });
    }
    clock.run();
    expect(woken).toEqual(
      asked.toSorted((one, other) => one.atMs - other.atMs || one.order - other.order),
    );
  });

  it('passes over what was cancelled, and goes on with what is asked for while it runs', () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    const cancelled = clock.schedule(5, () => seen.push('cancelled'));
    clock.schedule(1, () => {
      cancelled.cancel();
      clock.schedule(10, () => seen.push(`at ${clock.monotonicMs()}`));
    });
    clock.run();
    expect(seen).toEqual(['at 11']);
  });
});
