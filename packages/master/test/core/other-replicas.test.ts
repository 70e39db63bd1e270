import { describe, expect, it } from 'vitest';
import { sharedFilePath } from '../../src/core/shared-file-path.ts';
import { atOnce, configOf, coreForTests, peek, segmentOf, uuid } from '../../src/testing.ts';

const [all, memory, disk] = [4, 0, 1];
const [holder, writer] = [uuid(1), uuid(2)];
const ok = { ok: undefined };

function coreWithSharedDirectory() {
  const { core, clock } = coreForTests({ sharedDirectory: '/shared/pool', leaseTtlMs: 100 });
  expect(core.mountSegment(segmentOf(1, 100), holder)).toEqual(ok);
  const kinds = (key: string) => peek(core, key)?.map(({ location }) => location.kind) ?? null;
  const begin = (key: string) => core.putStart(writer, key, 50, configOf());
  return { core, clock, kinds, begin };
}

describe('a copy in the directory that all share', () => {
  it('is told to the writer, and to readers once it is there', () => {
    const { core, kinds, begin } = coreWithSharedDirectory();
    const filePath = sharedFilePath('/shared/pool', 'k');
    expect(begin('k')).toMatchObject({
      ok: [
        { location: { kind: 'memory' }, status: 2 },
        { location: { kind: 'disk', filePath, objectSize: 50 }, status: 2 },
      ],
    });
    expect(core.putEnd(writer, 'k', 7n, all)).toEqual(ok);
    expect(kinds('k')).toEqual(['memory']);
    expect(core.remove('k', true)).toEqual({ error: -703 });
    expect(core.putEnd(writer, 'k', null, disk)).toEqual(ok);
    expect(kinds('k')).toEqual(['memory', 'disk']);
    expect(core.find('k')).toHaveProperty('ok.objectChecksum', 7n);
    core.checkInvariants();
    expect(core.remove('k', true)).toEqual(ok);
    core.checkInvariants();
  });

  it('outlives the copy in memory, which makes room', () => {
    const { core, kinds, begin } = coreWithSharedDirectory();
    for (const key of ['a', 'b', 'c']) {
      expect(begin(key)).toHaveProperty('ok');
      expect(core.putEnd(writer, key, null, memory)).toEqual(ok);
      expect(core.putEnd(writer, key, null, disk)).toEqual(ok);
      core.checkInvariants();
    }
    expect([kinds('a'), kinds('b'), kinds('c')]).toEqual([
      ['disk'],
      ['memory', 'disk'],
      ['memory', 'disk'],
    ]);
    expect(core.unmountSegment(uuid(1), holder)).toEqual(ok);
    expect([kinds('a'), kinds('b'), kinds('c')]).toEqual([['disk'], ['disk'], ['disk']]);
    core.checkInvariants();
  });

  it('can be ended when its memory is gone already, and is given up when nobody ends it', () => {
    const { core, clock, kinds, begin } = coreWithSharedDirectory();
    begin('evicted');
    core.putEnd(writer, 'evicted', null, memory);
    expect(core.unmountSegment(uuid(1), holder)).toEqual(ok);
    expect([kinds('evicted'), core.find('evicted')]).toEqual([null, { error: -703 }]);
    core.checkInvariants();
    expect(core.putEnd(writer, 'evicted', null, disk)).toEqual(ok);
    expect(kinds('evicted')).toEqual(['disk']);

    expect(core.mountSegment(segmentOf(2, 100), holder)).toEqual(ok);
    begin('abandoned');
    core.putEnd(writer, 'abandoned', null, memory);
    for (let waitedMs = 0; waitedMs < 600_000; waitedMs += 5_000) {
      clock.advance(5_000);
      core.ping(holder);
      core.sweep();
      core.checkInvariants();
    }
    expect(kinds('abandoned')).toEqual(['memory']);
    expect(core.remove('abandoned', false)).toEqual(ok);
  });

  it('lies where Mooncake puts it, whatever the key', () => {
    expect(sharedFilePath('/d', 'a/b:c')).toMatch(/^\/d\/[a-p]\/[a-p]\/a_b_c$/);
  });
});

describe('a revoke', () => {
  it('takes back the replicas of its type only', () => {
    const { core, kinds, begin } = coreWithSharedDirectory();
    begin('k');
    expect(core.putRevoke(writer, 'k', memory)).toEqual(ok);
    expect(core.find('k')).toEqual({ error: -703 });
    expect(core.putEnd(writer, 'k', null, disk)).toEqual(ok);
    expect(kinds('k')).toEqual(['disk']);
    begin('l');
    core.putEnd(writer, 'l', null, memory);
    expect(core.putRevoke(writer, 'l', memory)).toEqual({ error: -700 });
    expect(core.putRevoke(writer, 'l', disk)).toEqual(ok);
    expect([kinds('l'), core.remove('l', false)]).toEqual([['memory'], ok]);
    core.checkInvariants();
    expect(core.usedByteCount).toBe(core.setAsideByteCount);
  });
});

describe('tenants', () => {
  it('have the same key each for itself when they are told apart', () => {
    const { core } = coreForTests({ isMultiTenant: true });
    core.tenantQuotas?.replace(
      new Map([
        ['a', 100],
        ['b', 100],
      ]),
    );
    core.mountSegment(segmentOf(1, 100), holder);
    for (const [tenant, byteCount] of [
      ['a', 10],
      ['b', 20],
    ] as const) {
      expect(core.putStart(writer, 'k', byteCount, configOf(), tenant)).toHaveProperty('ok');
      expect(core.putEnd(writer, 'k', null, all, tenant)).toEqual(ok);
    }
    expect([core.exist('k', 'a'), core.exist('k', 'c'), core.exist('k')]).toEqual([
      true,
      false,
      false,
    ]);
    expect([...core.keys('a')]).toEqual(['k']);
    expect(atOnce(core.findMatching('.', 'b'))).toHaveProperty('ok.length', 1);
    expect([atOnce(core.removeAll(true, 'a')), core.usedByteCount, core.objectCount]).toEqual([
      1, 20, 1,
    ]);
    expect(atOnce(core.removeAll(true))).toBe(1);
    core.checkInvariants();
  });

  it('are one otherwise', () => {
    const { core } = coreForTests();
    core.mountSegment(segmentOf(1, 100), holder);
    core.putStart(writer, 'k', 10, configOf(), 'a');
    expect(core.putEnd(writer, 'k', null, all, 'b')).toEqual(ok);
    expect(core.exist('k', 'c')).toBe(true);
  });
});
