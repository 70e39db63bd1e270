import { describe, expect, it } from 'vitest';
import type { MasterCore } from '../../src/core/master-core.ts';
import { atOnce, configOf, coreForTests, peek, segmentOf, uuid } from '../../src/testing.ts';

const [one, two, writer] = [uuid(1), uuid(2), uuid(9)];
const ok = { ok: undefined };

/** Two holders with a segment each, seen just now. */
function pool(options: Parameters<typeof coreForTests>[0] = {}) {
  const { core, clock } = coreForTests({ clientTtlMs: 10_000, ...options });
  for (const client of [one, two]) {
    const segment = segmentOf(client === one ? 1 : 2, 1_000);
    core.mountSegment(segment, client);
    core.remountSegments([segment], client);
  }
  return { core, clock };
}

function put(core: MasterCore, key: string, on: readonly number[], by = writer) {
  const preferredSegments = on.map((number) => `host:${number}`);
  const started = core.putStart(
    by,
    key,
    100,
    configOf({ replicaNum: Math.max(1, on.length), preferredSegments }),
  );
  return 'ok' in started ? core.putEnd(by, key, null, 4) : started;
}

const endpoints = (core: MasterCore, key: string) =>
  peek(core, key)?.map(({ location }) =>
    location.kind === 'memory' ? location.buffer.transportEndpoint : location.kind,
  ) ?? null;

describe('a client whose last connection ended', () => {
  it('is skipped by readers and writers at once, and is back with its next ping', () => {
    const { core, clock } = pool();
    put(core, 'alone', [1]);
    put(core, 'twice', [1, 2]);
    expect(endpoints(core, 'twice')).toEqual(['host:1', 'host:2']);
    core.clientDisconnected(one);
    expect([core.exist('alone'), core.find('alone')]).toEqual([false, { error: -703 }]);
    expect(atOnce(core.findMatching('alone'))).toEqual({ ok: [] });
    expect([core.exist('twice'), endpoints(core, 'twice')]).toEqual([true, ['host:2']]);
    for (let index = 0; index < 5; index++) expect(put(core, `new-${index}`, [1])).toEqual(ok);
    expect(endpoints(core, 'new-4')).toEqual(['host:2']);
    core.checkInvariants();

    clock.advance(5_000);
    core.sweep();
    expect(core.ping(one)).toBe(1);
    expect([core.exist('alone'), endpoints(core, 'twice')]).toEqual([true, ['host:1', 'host:2']]);
    expect(core.suspicionCounts).toEqual({ begun: 1, cleared: 1 });
    core.checkInvariants();
  });

  it('is back also when it mounts, and gone when it stays silent', () => {
    const { core, clock } = pool();
    put(core, 'k', [1]);
    core.clientDisconnected(one);
    core.mountSegment(segmentOf(3, 1_000), one);
    expect(core.exist('k')).toBe(true);
    core.clientDisconnected(one);
    for (let second = 0; second < 11; second++) {
      clock.advance(1_000);
      core.ping(two);
      core.sweep();
    }
    expect([core.find('k'), core.segments().length]).toEqual([{ error: -704 }, 1]);
    core.checkInvariants();
  });

  it('leaves keys that only it held to whoever writes them anew', () => {
    const { core } = pool();
    put(core, 'k', [1]);
    expect(put(core, 'k', [2])).toEqual({ error: -705 });
    core.clientDisconnected(one);
    expect([put(core, 'k', [2]), endpoints(core, 'k')]).toEqual([ok, ['host:2']]);
    core.ping(one);
    expect(endpoints(core, 'k')).toEqual(['host:2']);
    core.checkInvariants();
  });
});

describe('a report', () => {
  it('is believed when the ping of the client is overdue, until it pings', () => {
    const { core, clock } = pool();
    put(core, 'k', [1]);
    clock.advance(3_000);
    core.reportEndpoints(writer, ['host:1', 'host:7']);
    expect([core.exist('k'), core.suspectCount]).toEqual([false, 1]);
    core.ping(one);
    expect(core.exist('k')).toBe(true);
  });

  it('of a client that pings does nothing until a ping is missed', () => {
    const { core, clock } = pool();
    put(core, 'k', [1]);
    for (let second = 0; second < 5; second++) {
      core.reportEndpoints(writer, ['host:1']);
      clock.advance(1_000);
      core.sweep();
      expect(core.exist('k')).toBe(true);
      core.ping(one);
    }
    core.reportEndpoints(writer, ['host:1']);
    clock.advance(2_001);
    core.sweep();
    expect(core.exist('k')).toBe(false);
  });

  it('is what a revoked put says of the memory it was meant for, not of the own one', () => {
    const { core, clock } = pool();
    put(core, 'k', [1]);
    clock.advance(3_000);
    const revoke = (by: typeof one) => {
      core.putStart(by, 'lost', 100, configOf({ preferredSegment: 'host:1' }));
      expect(core.putRevoke(by, 'lost', 4)).toEqual(ok);
    };
    revoke(one);
    expect(core.exist('k')).toBe(true);
    revoke(writer);
    expect(core.exist('k')).toBe(false);
  });
});

describe('liveness in two steps', () => {
  it('suspects a silent client, then forgets it', () => {
    const { core, clock } = pool({ clientSuspicionTtlMs: 20_000 });
    put(core, 'k', [1]);
    clock.advance(10_001);
    core.sweep();
    expect([core.find('k'), core.segments().length]).toEqual([{ error: -703 }, 2]);
    clock.advance(15_000);
    core.sweep();
    expect([core.ping(one), core.exist('k')]).toEqual([1, true]);
    clock.advance(30_001);
    expect(core.sweep().expiredClients.map(({ id }) => id)).toEqual([one, two]);
    expect([core.find('k'), core.ping(one), core.suspectCount]).toEqual([{ error: -704 }, 2, 0]);
    core.checkInvariants();
  });
});

describe('a writer whose connections ended', () => {
  it('leaves its keys to others at once, its bytes only when no transfer can be under way', () => {
    const { core, clock } = pool();
    const other = uuid(8);
    core.putStart(writer, 'a', 100, configOf());
    core.putStart(writer, 'b', 100, configOf());
    expect(core.putStart(other, 'a', 100, configOf())).toEqual({ error: -705 });
    core.clientDisconnected(writer);
    expect(put(core, 'a', [1], other)).toEqual(ok);
    expect(core.putEnd(writer, 'a', null, 4)).toEqual({ error: -601 });
    core.clientConnected(writer);
    expect(core.putStart(other, 'b', 100, configOf())).toEqual({ error: -705 });
    core.clientDisconnected(writer);
    for (let second = 0; second < 11; second++) {
      clock.advance(1_000);
      for (const client of [one, two]) core.ping(client);
      core.sweep();
    }
    expect([core.unfinishedPutCount, core.putEnd(writer, 'b', null, 4)]).toEqual([
      0,
      { error: -704 },
    ]);
    expect([core.exist('a'), core.setAsideByteCount]).toEqual([true, 200]);
    core.checkInvariants();
    clock.advance(600_000);
    core.sweep();
    expect(core.setAsideByteCount).toBe(0);
  });
});

describe('a segment that has just come', () => {
  it.each(['random', 'free_ratio_first'] as const)(
    'is filled bit by bit and gets no more than twice its share, %s',
    (allocationStrategy) => {
      const { core } = coreForTests({ allocationStrategy });
      for (let number = 1; number <= 4; number++) {
        core.mountSegment(segmentOf(number, 1_000_000), uuid(number));
      }
      for (let index = 0; index < 4_000; index++) put(core, `old-${index}`, []);
      core.mountSegment(segmentOf(5, 1_000_000), uuid(5));
      for (let index = 0; index < 1_000; index++) put(core, `new-${index}`, []);
      const share = (core.segmentsNamed('host:5')[0]?.usedByteCount ?? 0) / 100_000;
      expect(share).toBeGreaterThan(0.15);
      expect(share).toBeLessThan(0.45);
    },
  );

  it('gets its share of the objects when room is looked for first', () => {
    const { core } = coreForTests({ allocationStrategy: 'free_ratio_first' });
    core.mountSegment(segmentOf(1, 1_000_000), uuid(1));
    for (let index = 0; index < 1_000; index++) put(core, `old-${index}`, []);
    core.mountSegment(segmentOf(2, 1_000_000), uuid(2));
    for (let index = 0; index < 2_000; index++) put(core, `new-${index}`, []);
    const [one, two] = core.segments().map(({ usedByteCount }) => usedByteCount);
    expect(Math.abs((one as number) - (two as number))).toBeLessThan(20_000);
  });
});

describe('a full pool', () => {
  it('refuses at once when every object is leased', () => {
    const { core } = pool();
    for (let index = 0; index < 20; index++) {
      expect(put(core, `k${index}`, [1])).toEqual(ok);
      core.exist(`k${index}`);
    }
    expect(put(core, 'one more', [1])).toEqual({ error: -200 });
    expect(core.objectCount).toBe(20);
  });
});

describe('memory and disks without end', () => {
  const most = Number.MAX_SAFE_INTEGER;

  it('are lent as far as bytes can be counted', () => {
    const { core } = coreForTests({ enableOffload: true });
    const refused = { error: -200 };
    expect(core.mountSegment(segmentOf(1, 2 ** 52 + 1), one)).toEqual(ok);
    expect(core.mountSegment(segmentOf(2, 2 ** 52), two)).toEqual(refused);
    expect(core.remountSegments([segmentOf(2, 9), segmentOf(3, most)], two)).toEqual(refused);
    expect(core.remountSegments([segmentOf(2, 2 ** 52 - 2)], two)).toEqual(ok);
    expect(core.capacityByteCount).toBe(most);
    core.checkInvariants();
  });

  it('hold what they said until they say something else', () => {
    const { core } = coreForTests({ enableOffload: true });
    for (const client of [one, two]) core.localDisks.mount(client, true);
    expect(core.localDisks.reportCapacity(one, most)).toEqual(ok);
    expect(core.localDisks.reportCapacity(two, 1)).toEqual({ error: -600 });
    expect(core.localDisks.reportCapacity(one, most - 1)).toEqual(ok);
    expect(core.localDisks.reportCapacity(two, 1)).toEqual(ok);
    const report = (key: string, byteCount: number) => [
      { ...{ tenant: 'default', key, byteCount }, transportEndpoint: 'disk' },
    ];
    expect(core.localDisks.report(one, report('large', most))).toEqual(ok);
    expect(core.localDisks.report(two, report('one more', 1))).toEqual(ok);
    expect([...core.keys()]).toEqual(['large']);
    core.checkInvariants();
  });
});
