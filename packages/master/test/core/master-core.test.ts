import { describe, expect, it } from 'vitest';
import type { MasterCore } from '../../src/core/master-core.ts';
import { atOnce, configOf, coreForTests, peek, segmentOf, uuid } from '../../src/testing.ts';

const all = 4;
const [holder, writer, other] = [uuid(1), uuid(2), uuid(3)];
const ok = { ok: undefined };

function put(core: MasterCore, key: string, byteCount = 10, fields = {}): void {
  expect(core.putStart(writer, key, byteCount, configOf(fields))).toHaveProperty('ok');
  expect(core.putEnd(writer, key, null, all)).toEqual(ok);
}

/** A core with one mounted segment whose holder keeps pinging. */
function coreWithSegment(capacity = 100, options = {}) {
  const { core, clock } = coreForTests(options);
  expect(core.mountSegment(segmentOf(1, capacity), holder)).toEqual(ok);
  const wait = (ms: number) => {
    for (let left = ms; left > 0; left -= 5_000) {
      clock.advance(Math.min(left, 5_000));
      core.ping(holder);
      core.sweep();
    }
    core.checkInvariants();
  };
  return { core, clock, wait };
}

describe('a put', () => {
  it('can be read once it has ended, and not before', () => {
    const { core } = coreWithSegment();
    const started = core.putStart(writer, 'k', 10, configOf());
    expect(started).toEqual({
      ok: [
        expect.objectContaining({
          id: expect.anything(),
          status: 2,
        }),
      ],
    });
    expect([core.exist('k'), core.find('k')]).toEqual([false, { error: -703 }]);
    expect(core.putEnd(writer, 'k', 5n, all)).toEqual(ok);
    expect(core.exist('k')).toBe(true);
    expect(core.find('k')).toMatchObject({
      ok: { replicas: [{ status: 3 }], leaseTtlMs: 10_000, objectChecksum: 5n },
    });
    expect(core.find('never')).toEqual({ error: -704 });
  });

  it.each([
    ['no replicas', { replicaNum: 0 }],
    ['NoF replicas', { nofReplicaNum: 1 }],
    ['two DFS replicas', { dfsReplicaNum: 2 }],
    ['a soft pin that is too long', { softPinAction: 1, softPinTtlMs: 86_400_001 }],
    ['a time to live without a soft pin', { softPinAction: 2, softPinTtlMs: 1 }],
    ['an unknown soft pin action', { softPinAction: 3 }],
    ['fewer groups than keys', { groupIds: [] }],
  ])('is refused with %s', (_, fields) => {
    const { core } = coreWithSegment();
    expect(core.putStart(writer, 'k', 10, configOf(fields))).toEqual({ error: -600 });
  });

  it('is refused without a key, without bytes, for a key that exists, and without room', () => {
    const { core } = coreWithSegment();
    expect(core.putStart(writer, '', 10, configOf())).toEqual({ error: -600 });
    expect(core.putStart(writer, 'k', 0, configOf())).toEqual({ error: -600 });
    expect(core.putStart(writer, 'k', 101, configOf())).toEqual({ error: -200 });
    put(core, 'k');
    expect(core.putStart(other, 'k', 10, configOf())).toEqual({ error: -705 });
    expect(coreForTests().core.putStart(writer, 'k', 1, configOf())).toEqual({ error: -200 });
  });

  it('is ended and revoked by its writer alone, and ended as often as he likes', () => {
    const { core, wait } = coreWithSegment();
    expect(core.putEnd(writer, 'k', null, all)).toEqual({ error: -704 });
    expect(core.putRevoke(writer, 'k', all)).toEqual({ error: -704 });
    core.putStart(writer, 'k', 10, configOf());
    expect(core.putEnd(other, 'k', null, all)).toEqual({ error: -601 });
    expect(core.putRevoke(other, 'k', all)).toEqual({ error: -601 });
    expect(core.putEnd(writer, 'k', null, all)).toEqual(ok);
    expect(core.putEnd(writer, 'k', null, all)).toEqual(ok);
    expect(core.putRevoke(writer, 'k', all)).toEqual({ error: -700 });
    core.putStart(writer, 'revoked', 10, configOf());
    expect(core.putRevoke(writer, 'revoked', all)).toEqual(ok);
    // What was sent may land as long as the holder, if it hangs, is not given up.
    expect([core.usedByteCount, core.setAsideByteCount]).toEqual([20, 10]);
    expect(core.putStart(other, 'revoked', 95, configOf())).toEqual({ error: -200 });
    wait(10_000);
    expect(core.setAsideByteCount).toBe(0);
    expect(core.putStart(other, 'revoked', 95, configOf())).toHaveProperty('ok');
  });

  it('may be taken over by anyone after 30 s, and its bytes return 600 s after its start', () => {
    const { core, wait } = coreWithSegment();
    core.putStart(writer, 'k', 40, configOf());
    wait(29_999);
    expect(core.putStart(other, 'k', 40, configOf())).toEqual({ error: -705 });
    wait(1);
    expect(core.putStart(other, 'k', 40, configOf())).toHaveProperty('ok');
    expect(core.putEnd(writer, 'k', null, all)).toEqual({ error: -601 });
    expect(core.putEnd(other, 'k', null, all)).toEqual(ok);
    expect([core.usedByteCount, core.setAsideByteCount]).toEqual([80, 40]);
    wait(569_999);
    expect(core.usedByteCount).toBe(80);
    wait(1);
    expect([core.usedByteCount, core.setAsideByteCount]).toEqual([40, 0]);
  });

  it('that nobody ends is gone after 600 s', () => {
    const { core, wait } = coreWithSegment();
    core.putStart(writer, 'a', 40, configOf());
    core.putStart(writer, 'b', 40, configOf());
    wait(600_000);
    expect([core.objectCount, core.usedByteCount, core.counters.reclaimed]).toEqual([0, 0, 2]);
  });

  it('goes at once when its writer falls silent or unmounts his last segment', () => {
    const { core, wait } = coreWithSegment();
    core.ping(writer);
    core.putStart(writer, 'silent', 10, configOf());
    wait(10_000);
    expect(core.putStart(other, 'silent', 10, configOf())).toEqual({ error: -705 });
    wait(1);
    expect(core.putStart(other, 'silent', 10, configOf())).toHaveProperty('ok');
    core.putRevoke(other, 'silent', all);
    expect(core.setAsideByteCount).toBe(10);

    core.mountSegment(segmentOf(2, 100), writer);
    core.putStart(writer, 'closing', 10, configOf({ preferredSegment: 'host:1' }));
    expect(core.unmountSegment(uuid(2), writer)).toEqual(ok);
    expect([core.unfinishedPutCount, core.usedByteCount]).toEqual([0, core.setAsideByteCount]);
  });

  it('lays its copies into different segments, preferred ones first', () => {
    const { core } = coreWithSegment();
    core.mountSegment(segmentOf(2, 100), holder);
    core.mountSegment(segmentOf(3, 100), holder);
    const preferred = configOf({ replicaNum: 2, preferredSegments: ['none', 'host:3', 'host:2'] });
    core.putStart(writer, 'two', 10, preferred);
    expect(core.segments().map(({ usedByteCount }) => usedByteCount)).toEqual([0, 10, 10]);
    const many = core.putStart(writer, 'many', 10, configOf({ replicaNum: 9 }));
    expect(many).toHaveProperty('ok.length', 3);
    core.checkInvariants();
  });
});

describe('a lease', () => {
  it('keeps an object from removal until it ends, unless by force', () => {
    const { core, clock } = coreWithSegment();
    put(core, 'k');
    put(core, 'forced');
    expect([core.exist('k'), core.exist('forced')]).toEqual([true, true]);
    expect(core.remove('forced', false)).toEqual({ error: -706 });
    expect(core.remove('forced', true)).toEqual(ok);
    clock.advance(9_999);
    expect([core.remove('k', false), atOnce(core.removeAll(false))]).toEqual([{ error: -706 }, 0]);
    expect(core.countLeases()).toBe(1);
    clock.advance(1);
    expect(core.remove('k', false)).toEqual(ok);
    expect(core.remove('k', false)).toEqual({ error: -704 });
  });

  it('is not needed to remove a fresh object; an unfinished one stays even by force', () => {
    const { core } = coreWithSegment();
    put(core, 'fresh');
    expect(core.remove('fresh', false)).toEqual(ok);
    core.putStart(writer, 'unfinished', 10, configOf());
    expect(core.remove('unfinished', true)).toEqual({ error: -703 });
    expect(atOnce(core.removeAll(true))).toBe(0);
  });
});

describe('an upsert', () => {
  it('writes into the same bytes when the size is the same, leased or not', () => {
    const { core } = coreWithSegment();
    put(core, 'k');
    const before = peek(core, 'k');
    core.exist('k');
    const started = core.upsertStart(other, 'k', 10, configOf());
    expect(started).toEqual({ ok: before?.map((replica) => ({ ...replica, status: 2 })) });
    expect(core.find('k')).toEqual({ error: -703 });
    expect(core.putEnd(other, 'k', null, all)).toEqual(ok);
    expect(peek(core, 'k')).toEqual(before);
    expect(core.remove('k', false)).toEqual({ error: -706 });
    core.checkInvariants();
  });

  it('sets the old bytes aside when the size differs or a write is running', () => {
    const { core, wait } = coreWithSegment();
    put(core, 'k');
    expect(core.upsertStart(writer, 'k', 20, configOf())).toHaveProperty('ok');
    expect(core.upsertStart(other, 'k', 20, configOf())).toHaveProperty('ok');
    expect(core.putEnd(other, 'k', null, all)).toEqual(ok);
    expect([core.usedByteCount, core.setAsideByteCount]).toEqual([50, 30]);
    wait(600_000);
    expect([core.usedByteCount, core.setAsideByteCount]).toEqual([20, 0]);
  });

  it('leaves the old object alone when there is no room, and keeps its group', () => {
    const { core } = coreWithSegment(20);
    put(core, 'k', 10, { groupIds: ['g'], withHardPin: true });
    expect(core.upsertStart(writer, 'k', 11, configOf())).toEqual({ error: -200 });
    expect(core.find('k')).toHaveProperty('ok');
    expect(core.upsertStart(writer, 'k', 10, configOf({ groupIds: ['h'] }))).toEqual({
      error: -600,
    });
  });
});

describe('segments and clients', () => {
  it('are unmounted with all objects that have no other copy', () => {
    const { core } = coreWithSegment();
    core.mountSegment(segmentOf(2, 100), other);
    put(core, 'one', 10, { preferredSegment: 'host:1' });
    put(core, 'both', 10, { replicaNum: 2 });
    core.putStart(writer, 'unfinished', 10, configOf({ preferredSegment: 'host:1' }));
    expect(core.unmountSegment(uuid(1), holder)).toEqual(ok);
    expect(core.unmountSegment(uuid(1), holder)).toEqual(ok);
    expect([core.exist('one'), core.exist('both')]).toEqual([false, true]);
    expect(core.putEnd(writer, 'unfinished', null, all)).toEqual({ error: -704 });
    core.checkInvariants();
  });

  it('vanish when the client is silent for longer than its time to live', () => {
    const { core, clock } = coreForTests();
    core.mountSegment(segmentOf(1, 100), holder);
    put(core, 'k');
    clock.advance(10_000);
    expect([core.sweep().expiredClients, core.exist('k')]).toEqual([[], true]);
    clock.advance(1);
    expect(core.sweep().expiredClients).toMatchObject([{ id: holder, segmentCount: 1 }]);
    expect([core.exist('k'), core.find('k')]).toEqual([false, { error: -704 }]);
    expect(core.putStart(writer, 'k', 1, configOf())).toEqual({ error: -200 });
    expect(core.ping(holder)).toBe(2);
    core.checkInvariants();
  });

  it('ask for a remount until the client has told what it has', () => {
    const { core } = coreForTests();
    const [first, second] = [segmentOf(1, 100), segmentOf(2, 100)];
    expect(core.mountSegment(first, holder)).toEqual(ok);
    expect(core.mountSegment(first, other)).toEqual(ok);
    expect(core.ping(holder)).toBe(2);
    expect(core.remountSegments([second, { ...first, size: 50 }], holder)).toEqual({ error: -600 });
    expect(core.remountSegments([first], other)).toEqual({ error: -600 });
    expect(core.remountSegments([first, second, second], holder)).toEqual(ok);
    expect(core.remountSegments([segmentOf(3, 0)], holder)).toEqual(ok);
    expect([core.ping(holder), core.segments().length]).toEqual([1, 2]);
    expect(core.mountSegment(segmentOf(3, 0), holder)).toEqual({ error: -600 });
    expect(core.mountSegment(segmentOf(3, 2, { base: 2n ** 64n - 1n }), holder)).toEqual({
      error: -600,
    });
  });

  it('unmount gracefully: nothing new, still readable, gone after the period', () => {
    const { core, wait } = coreWithSegment();
    put(core, 'k');
    expect(core.unmountSegmentGracefully(uuid(1), other, 5_000)).toEqual({ error: -101 });
    expect(core.unmountSegmentGracefully(uuid(2), holder, 5_000)).toEqual({ error: -600 });
    expect(core.unmountSegmentGracefully(uuid(1), holder, 5_000)).toEqual(ok);
    expect(core.segmentStatus('host:1')).toEqual({ ok: 4 });
    expect(core.mountSegment(segmentOf(1, 100), holder)).toEqual({ error: -1010 });
    expect(core.putStart(writer, 'new', 1, configOf())).toEqual({ error: -200 });
    wait(4_999);
    expect(core.exist('k')).toBe(true);
    wait(1);
    expect([core.exist('k'), core.segmentStatusById(uuid(1))]).toEqual([false, { error: -101 }]);
  });

  it('are limited in number', () => {
    const { core } = coreForTests({ clientCountMax: 1, segmentCountMax: 1, objectCountMax: 1 });
    expect(core.mountSegment(segmentOf(1, 100), holder)).toEqual(ok);
    expect(core.mountSegment(segmentOf(2, 100), holder)).toEqual({ error: -200 });
    expect(core.remountSegments([], other)).toEqual({ error: -200 });
    expect([core.ping(other), core.clientCount]).toEqual([2, 1]);
    put(core, 'a');
    put(core, 'b');
    expect([core.exist('a'), core.exist('b')]).toEqual([false, true]);
    expect(core.putStart(writer, 'c', 1, configOf())).toEqual({ error: -200 });
  });
});

describe('patterns', () => {
  it('find and remove keys in which they occur, but what may not go', () => {
    const { core } = coreWithSegment();
    for (const key of ['a1', 'a2', 'b1']) put(core, key);
    core.putStart(writer, 'a3', 10, configOf());
    const found = atOnce(core.findMatching('^a\\d'));
    expect('ok' in found && found.ok.map(([key]) => key)).toEqual(['a1', 'a2']);
    expect(atOnce(core.removeMatching('1$', false))).toEqual({ ok: 1 });
    expect(atOnce(core.removeMatching('^a', true))).toEqual({ ok: 2 });
    expect([...core.keys()]).toEqual(['a3']);
  });

  it('are refused when they are none, too long, or never end', () => {
    const { core } = coreWithSegment();
    put(core, `${'a'.repeat(40)}!`);
    for (const pattern of ['(', 'a'.repeat(1_025), '^(a+)+$']) {
      expect(atOnce(core.removeMatching(pattern, true))).toEqual({ error: -600 });
    }
    expect(core.objectCount).toBe(1);
  });
});

describe('clearing replicas', () => {
  it('touches only what the caller wrote and nobody leases', () => {
    const { core } = coreWithSegment();
    core.mountSegment(segmentOf(2, 100), holder);
    put(core, 'both', 10, { replicaNum: 2 });
    put(core, 'one', 10, { preferredSegment: 'host:1' });
    put(core, 'leased');
    core.exist('leased');
    expect(core.clearReplicas(['both', 'one', 'leased'], other, '')).toEqual([]);
    expect(core.clearReplicas(['both', 'one', 'leased', 'none'], writer, 'host:1')).toEqual([
      'both',
      'one',
    ]);
    expect([peek(core, 'both')?.length, peek(core, 'one')]).toEqual([1, null]);
    expect(core.clearReplicas(['both'], writer, '')).toEqual(['both']);
    core.checkInvariants();
  });
});
