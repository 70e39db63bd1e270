import { FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { LongWork, type Steps } from '../src/long-work.ts';
import { configOf, coreForTests, segmentOf, uuid } from '../src/testing.ts';

/** Steps that take a millisecond each. */
function* counting(
  clock: FakeClock,
  name: string,
  stepCount: number,
  done: string[],
): Steps<string> {
  for (let step = 0; step < stepCount; step += 1) {
    clock.advance(1);
    yield;
  }
  done.push(name);
  return name;
}

describe('LongWork', () => {
  it('gives what is short at once', () => {
    const clock = new FakeClock();
    const work = new LongWork(clock);
    expect(work.run(counting(clock, 'short', 3, []))).toBe('short');
    expect(clock.waitingCount).toBe(0);
  });

  it('lets everything else go on between the slices of what is long, which take turns', async () => {
    const clock = new FakeClock();
    const still = { advance: () => {} } as unknown as FakeClock;
    const work = new LongWork(clock);
    const done: string[] = [];
    const long = work.run(counting(clock, 'long', 40, done));
    const short = work.run(counting(still, 'short', 3, done));
    expect([long, short]).toEqual([expect.any(Promise), expect.any(Promise)]);
    clock.advance(1_000);
    expect(done).toEqual(['short', 'long']);
    expect(await Promise.all([long, short])).toEqual(['long', 'short']);
  });

  it('tells whoever waits that work failed, and goes on with the next', async () => {
    const clock = new FakeClock();
    const work = new LongWork(clock);
    const failing = function* (): Steps<never> {
      yield* counting(clock, '', 6, []);
      throw new Error('broken');
    };
    const failed = work.run(failing());
    const next = work.run(counting(clock, 'next', 1, []));
    const outcome = expect(failed).rejects.toThrow('broken');
    clock.advance(1_000);
    await outcome;
    expect(await next).toBe('next');
  });
});

describe('what looks at every object', () => {
  const writer = uuid(2);

  function coreWithObjects(count: number) {
    const { core, clock } = coreForTests();
    core.mountSegment(segmentOf(1, 2 ** 20), uuid(1));
    const put = (key: string) => {
      core.putStart(writer, key, 1, configOf());
      core.putEnd(writer, key, null, 4);
    };
    for (let index = 0; index < count; index += 1) put(`k${index}`);
    return { core, clock, put };
  }

  it.each([
    ['all', 'removeAll'],
    ['a pattern', 'removeMatching'],
  ] as const)('leaves what comes while it removes %s', (_, kind) => {
    const { core, clock, put } = coreWithObjects(10_000);
    const steps = kind === 'removeAll' ? core.removeAll(true) : core.removeMatching('^k', true);
    clock.advance(1);
    do {
      if (steps.next().done === true) break;
    } while (core.objectCount === 10_000);
    expect(core.objectCount).toBeGreaterThan(5_000);
    clock.advance(1);
    // One that went already, and one whose turn would come.
    put('k0');
    core.remove('k9999', true);
    put('k9999');
    for (const _step of steps);
    expect([...core.keys()].toSorted()).toEqual(['k0', 'k9999']);
    core.checkInvariants();
  });

  it('finds only what is still there when it is through', () => {
    const { core } = coreWithObjects(10_000);
    const steps = core.findMatching('^k[0-2]$');
    expect(steps.next().done).toBe(false);
    core.remove('k1', true);
    let result = steps.next();
    while (result.done !== true) result = steps.next();
    expect('ok' in result.value && result.value.ok.map(([key]) => key)).toEqual(['k0', 'k2']);
  });
});
