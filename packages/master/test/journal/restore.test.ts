import { SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { JournalImage } from '../../src/journal/journal-image.ts';
import { configOf, coreForTests, segmentOf, uuid } from '../../src/testing.ts';
import { liveOn, plain } from './random-life.ts';

const done = { ok: undefined };

/** A core whose every change is known, and a way to have another go on from there. */
function watched(options = {}) {
  const image = new JournalImage();
  const { core, clock } = coreForTests(options, { changes: image });
  const restarted = () => {
    const { core: next } = coreForTests(options, { clock });
    next.restore(image);
    next.checkInvariants();
    return next;
  };
  return { core, clock, image, restarted };
}

/** One object of 10 bytes in a segment of 100, complete. */
function withObject() {
  const kit = watched();
  kit.core.mountSegment(segmentOf(1, 100), uuid(1));
  kit.core.remountSegments([segmentOf(1, 100)], uuid(1));
  kit.core.putStart(uuid(9), 'a', 10, configOf());
  kit.core.putEnd(uuid(9), 'a', 77n, 4);
  return kit;
}

describe('what a core tells its change log', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('is all there is to know, seed %i', (seed) => {
    const { core, clock, image, restarted } = watched({
      enableOffload: true,
      sharedDirectory: seed % 2 === 0 ? '/shared' : '',
    });
    const random = new SeededRandom(seed);
    for (let step = 0; step < 3_000; step += 1) {
      liveOn(core, clock, random);
      if (step % 100 !== 0) continue;
      expect(plain(image)).toEqual(plain(core.image()));
      expect(plain(restarted().image())).toEqual(plain(image));
    }
  });
});

describe('a restarted core', () => {
  it('answers for a segment only after its client came back with the same memory', () => {
    const { core, restarted } = withObject();
    const before = core.find('a');
    const next = restarted();
    expect(next.exist('a')).toBe(false);
    expect(next.find('a')).toEqual({ error: -703 });
    expect(next.putStart(uuid(9), 'b', 10, configOf())).toEqual({ error: -200 });
    expect(next.ping(uuid(1))).toBe(2);
    expect(next.remountSegments([segmentOf(1, 100)], uuid(1))).toEqual(done);
    expect(next.ping(uuid(1))).toBe(1);
    expect(next.find('a')).toEqual(before);
    expect(next.putStart(uuid(9), 'b', 90, configOf())).toHaveProperty('ok');
    next.checkInvariants();
  });

  it.each([
    ['another base', segmentOf(1, 100, { base: 4_096n }), uuid(1)],
    ['another size', segmentOf(1, 200), uuid(1)],
    ['another endpoint', segmentOf(1, 100, { teEndpoint: 'host:77' }), uuid(1)],
    ['another owner', segmentOf(1, 100), uuid(2)],
    ['another id', segmentOf(5, 100), uuid(1)],
  ])('forgets what lay in memory that came back with %s', (_, segment, owner) => {
    const next = withObject().restarted();
    expect(next.remountSegments([segment], owner)).toEqual(done);
    expect(next.find('a')).toEqual({ error: -704 });
    expect(next.usedByteCount).toBe(0);
    next.checkInvariants();
  });

  it('forgets the segments of a client that is not heard for long', () => {
    const { clock, restarted } = withObject();
    const next = restarted();
    clock.advance(29_000);
    next.sweep();
    expect(next.find('a')).toEqual({ error: -703 });
    clock.advance(2_000);
    expect(next.sweep().expiredClients).toHaveLength(1);
    expect(next.find('a')).toEqual({ error: -704 });
    next.checkInvariants();
  });

  it('lets the writer end what it had begun, and gives its bytes to nobody else', () => {
    const { core, restarted } = withObject();
    const started = core.putStart(uuid(9), 'c', 30, configOf());
    const next = restarted();
    next.remountSegments([segmentOf(1, 100)], uuid(1));
    expect(next.putStart(uuid(8), 'd', 61, configOf())).toEqual({ error: -200 });
    expect(next.putEnd(uuid(9), 'c', null, 4)).toEqual(done);
    const found = next.find('c');
    expect(found).toHaveProperty('ok');
    if (!('ok' in found) || !('ok' in started)) throw new Error('both were there');
    expect(found.ok.replicas[0]?.location).toEqual(started.ok[0]?.location);
  });

  it('keeps for a lease what somebody may be reading', () => {
    const { clock, restarted } = withObject();
    const next = restarted();
    next.remountSegments([segmentOf(1, 100)], uuid(1));
    expect(next.remove('a', false)).toEqual({ error: -706 });
    clock.advance(10_001);
    expect(next.remove('a', false)).toEqual(done);
  });

  it('refuses an image in which two objects share a byte', () => {
    const { image } = withObject();
    const [object] = image.objects;
    if (object === undefined) throw new Error('there is an object');
    image.stored({ ...object, key: 'b' });
    expect(() => coreForTests().core.restore(image)).toThrow(/two replicas in byte 0/);
  });
});

describe('a core without a journal', () => {
  it('puts nothing into a segment that another master had, until nobody can be at it', () => {
    const { core, clock } = coreForTests({ remountRestMs: 15_000 });
    expect(core.remountSegments([segmentOf(1, 100)], uuid(1))).toEqual(done);
    expect(core.putStart(uuid(9), 'a', 10, configOf())).toEqual({ error: -200 });
    for (let second = 0; second < 15; second += 1) {
      clock.advance(1_000);
      core.ping(uuid(1));
      core.sweep();
    }
    expect(core.putStart(uuid(9), 'a', 10, configOf())).toHaveProperty('ok');
    core.checkInvariants();
  });
});
