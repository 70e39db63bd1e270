import { silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { Housekeeping } from '../src/housekeeping.ts';
import { configOf, coreForTests, segmentOf, uuid } from '../src/testing.ts';

describe('Housekeeping', () => {
  it('evicts only while there is something to evict, and sweeps every second', async () => {
    const { core, clock } = coreForTests({ clientTtlMs: 2_500, evictionRatio: 0.2 });
    const housekeeping = new Housekeeping(core, clock, silentLogger);
    await housekeeping.start();
    core.mountSegment(segmentOf(1, 100), uuid(1));
    expect(clock.waitingCount).toBe(2);
    for (let index = 0; index < 10; index += 1) {
      core.putStart(uuid(2), `k${index}`, 10, configOf());
      core.putEnd(uuid(2), `k${index}`, null, 4);
      housekeeping.evictSoon();
    }
    expect([core.objectCount, clock.waitingCount]).toEqual([10, 3]);
    clock.advance(10);
    expect([core.objectCount, clock.waitingCount]).toEqual([7, 2]);
    for (let second = 0; second < 6; second += 1) {
      clock.advance(1_000);
      await Promise.resolve();
    }
    expect([core.objectCount, core.clientCount, core.usedByteCount]).toEqual([0, 0, 0]);
    await housekeeping.stop();
    expect(clock.waitingCount).toBe(0);
  });

  it('unmounts a segment when its short grace period ends', async () => {
    const { core, clock } = coreForTests();
    const housekeeping = new Housekeeping(core, clock, silentLogger);
    await housekeeping.start();
    core.mountSegment(segmentOf(1, 100), uuid(1));
    core.unmountSegmentGracefully(uuid(1), uuid(1), 200);
    housekeeping.sweepAfter(200);
    clock.advance(199);
    expect(core.segments()).toHaveLength(1);
    clock.advance(1);
    expect(core.segments()).toHaveLength(0);
    await housekeeping.stop();
  });

  it('hears what came while the process stood still before it takes anybody for silent', async () => {
    class StallingClock extends FakeClock {
      stalledMs = 0;
      override monotonicMs(): number {
        return super.monotonicMs() + this.stalledMs;
      }
    }
    const stalling = new StallingClock();
    const { core } = coreForTests({}, { clock: stalling });
    const housekeeping = new Housekeeping(core, stalling, silentLogger);
    await housekeeping.start();
    core.mountSegment(segmentOf(1, 100), uuid(1));
    core.mountSegment(segmentOf(2, 100), uuid(2));
    stalling.stalledMs = 60_000;
    stalling.advance(1_000);
    expect(core.segments()).toHaveLength(2);
    core.ping(uuid(1));
    await Promise.resolve();
    stalling.advance(1_000);
    expect(core.segments().map(({ id }) => id)).toEqual([uuid(1)]);
    await housekeeping.stop();
  });

  it('dies of a core that breaks its promises', async () => {
    const { core, clock } = coreForTests();
    const housekeeping = new Housekeeping(core, clock, silentLogger);
    await housekeeping.start();
    core.sweep = () => {
      throw new Error('broken');
    };
    clock.advance(1_000);
    await expect(housekeeping.ended()).rejects.toThrow('broken');
    await housekeeping.stop();
  });
});
