import { ErrorCode } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import { FrequencySketch } from '../../src/core/frequency-sketch.ts';
import type { MasterCore } from '../../src/core/master-core.ts';
import { configOf, coreForTests, segmentOf, uuid } from '../../src/testing.ts';

const all = 4;
const [holder, writer] = [uuid(1), uuid(2)];
const ok = { ok: undefined };
const tenant = 'default';

function kinds(core: MasterCore, key: string): string[] | null {
  const found = core.peek(key);
  return 'ok' in found ? found.ok.replicas.map(({ location }) => location.kind) : null;
}
const report = (key: string, byteCount: number) => ({
  ...{ tenant, key, byteCount },
  transportEndpoint: 'disk:1',
});

function coreWithDisk(options = {}) {
  const { core, clock } = coreForTests({ enableOffload: true, leaseTtlMs: 100, ...options });
  expect(core.mountSegment(segmentOf(1, 100), holder)).toEqual(ok);
  expect(core.localDisks.mount(holder, true)).toEqual(ok);
  const put = (key: string, byteCount = 10) => {
    const started = core.putStart(writer, key, byteCount, configOf());
    return 'ok' in started ? core.putEnd(writer, key, null, all) : started;
  };
  const taken = () => {
    const tasks = core.localDisks.takeOffloads(holder, true);
    return 'ok' in tasks ? tasks.ok.map(({ key }) => key) : tasks;
  };
  return { core, clock, put, taken };
}

describe('offload on eviction', () => {
  const evicting = { offloadOnEvict: true, evictionHighWatermark: 0.85 };

  it('sends the coldest to the disk, no more than needed, and frees memory once they are there', () => {
    const { core, clock, put, taken } = coreWithDisk(evicting);
    for (let number = 0; number < 9; number += 1) {
      put(`k${number}`);
      clock.advance(1);
    }
    expect(core.isEvictionDue).toBe(true);
    expect([core.evict(), core.isEvictionDue]).toEqual([0, false]);
    core.checkInvariants();
    expect(taken()).toEqual(['k0']);
    expect(kinds(core, 'k0')).toEqual(['memory']);
    expect(core.localDisks.report(holder, [report('k0', 10)])).toEqual(ok);
    expect(core.isEvictionDue).toBe(true);
    expect(core.evict()).toBe(1);
    expect([kinds(core, 'k0'), kinds(core, 'k1')]).toEqual([['localDisk'], ['memory']]);
    core.checkInvariants();
  });

  it('sends one copy: another that was made meanwhile just goes', () => {
    const { core, clock, put, taken } = coreWithDisk({ ...evicting, evictionHighWatermark: 0.01 });
    const other = uuid(3);
    put('a');
    clock.advance(1_000);
    expect(core.evict()).toBe(0);
    core.mountSegment(segmentOf(2, 100), other);
    core.localDisks.mount(other, true);
    core.replication.startCopy(other, 'a', tenant, 'host:1', ['host:2']);
    expect(core.replication.endCopy([other, 'a', tenant])).toEqual(ok);
    expect(kinds(core, 'a')).toEqual(['memory', 'memory']);
    clock.advance(1_000);
    expect(core.evict()).toBe(1);
    core.checkInvariants();
    expect([kinds(core, 'a'), taken()]).toEqual([['memory'], ['a']]);
  });

  it('keeps what the disk does not take, unless told to evict by force', () => {
    const { core, put } = coreWithDisk(evicting);
    core.localDisks.takeOffloads(holder, false);
    for (let number = 0; number < 10; number += 1) put(`k${number}`);
    for (let round = 0; round < 5; round += 1) core.evict();
    expect([core.objectCount, put('late')]).toEqual([10, { error: -200 }]);
    core.checkInvariants();

    const forced = coreWithDisk({ ...evicting, offloadForceEvict: true });
    forced.core.localDisks.takeOffloads(holder, false);
    for (let number = 0; number < 10; number += 1) forced.put(`k${number}`);
    expect(forced.core.evict()).toBeGreaterThan(0);
    expect(forced.put('late')).toEqual(ok);
  });

  it('lets what was read while it was written to the disk stay in memory', () => {
    const { core, clock, put, taken } = coreWithDisk(evicting);
    for (let number = 0; number < 9; number += 1) put(`k${number}`);
    clock.advance(10);
    core.evict();
    expect(taken()).toEqual(['k0']);
    clock.advance(500);
    core.find('k0');
    clock.advance(200);
    core.localDisks.report(holder, [report('k0', 10)]);
    core.evict();
    expect([kinds(core, 'k0'), taken()]).toEqual([['memory', 'localDisk'], ['k1']]);
    core.checkInvariants();
  });
});

describe('a client that is told to write to its disk', () => {
  it('holds the object in memory until it is done, has failed, or had its time', () => {
    const { core, clock, put, taken } = coreWithDisk({ putReleaseTimeoutMs: 60_000 });
    for (const key of ['done', 'failed', 'late']) put(key);
    expect(taken()).toEqual(['done', 'failed', 'late']);
    const upsert = (key: string) => core.upsertStart(writer, key, 10, configOf());
    for (const key of ['done', 'failed', 'late']) expect(upsert(key)).toEqual({ error: -708 });
    expect(core.localDisks.report(holder, [report('done', 10), report('failed', -1)])).toEqual(ok);
    for (const key of ['done', 'failed']) expect(upsert(key)).toHaveProperty('ok');
    for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 5_000) {
      clock.advance(5_000);
      core.ping(holder);
      core.sweep();
    }
    expect(upsert('late')).toHaveProperty('ok');
    core.checkInvariants();
  });

  it('does not lend old bytes to a write that is going on, nor to an object of another length', () => {
    const { core, put } = coreWithDisk();
    core.putStart(writer, 'begun', 10, configOf());
    put('longer', 20);
    const reports = [report('begun', 10), report('longer', 10)];
    expect(core.localDisks.report(holder, reports)).toEqual(ok);
    expect([core.exist('begun'), kinds(core, 'longer')]).toEqual([false, ['memory']]);
    core.checkInvariants();
  });

  it('takes its disk and what waited for it along when it dies', () => {
    const { core, clock, put } = coreWithDisk();
    expect(core.mountSegment(segmentOf(2, 100), uuid(3))).toEqual(ok);
    put('queued');
    core.localDisks.report(holder, [report('found', 10)]);
    core.localDisks.reportCapacity(holder, 1_000);
    expect([core.fileByteCount, core.fileCapacityByteCount]).toEqual([10, 1_000]);
    clock.advance(10_001);
    core.sweep();
    expect([core.objectCount, core.fileByteCount, core.fileCapacityByteCount]).toEqual([0, 0, 0]);
    expect(core.localDisks.takeOffloads(holder, true)).toEqual({ error: -101 });
    core.checkInvariants();
    core.ping(holder);
    core.localDisks.mount(holder, true);
    expect(core.localDisks.report(holder, [report('found', 10)])).toEqual(ok);
    expect(kinds(core, 'found')).toEqual(['localDisk']);
  });
});

describe('a report of no bytes', () => {
  it('is of no object', () => {
    const { core } = coreWithDisk({ promotionOnHit: true });
    expect(core.localDisks.report(holder, [report('empty', 0)])).toEqual(ok);
    expect(core.objectCount).toBe(0);
  });
});

describe('promotion', () => {
  const promoting = { promotionOnHit: true };

  it('waits for room and tries again, a bounded number of times', () => {
    const { core, clock, put } = coreWithDisk({ ...promoting, evictionHighWatermark: 0.5 });
    core.localDisks.report(holder, [report('cold', 10)]);
    for (let number = 0; number < 6; number += 1) put(`k${number}`);
    for (let read = 0; read < 3; read += 1) core.find('cold');
    expect(core.counters.promotions).toMatchObject({ rejectedFrequency: 1, rejectedWatermark: 2 });
    expect(core.counters.candidates.recorded).toBe(1);
    core.sweep();
    expect(core.localDisks.takePromotions(holder)).toEqual({ ok: [] });
    for (let number = 0; number < 6; number += 1) core.remove(`k${number}`, true);
    clock.advance(1_000);
    core.sweep();
    expect(core.localDisks.takePromotions(holder)).toEqual({
      ok: [{ tenantId: tenant, key: 'cold', size: 10 }],
    });
    expect(core.counters.candidates.admitted).toBe(1);
    core.checkInvariants();
  });

  it('begins at once for somebody who says that he is going to read', () => {
    const { core, put } = coreWithDisk(promoting);
    core.localDisks.report(holder, [report('cold', 10)]);
    put('warm');
    expect(core.localDisks.prefetch('nobody')).toEqual({ error: -704 });
    expect([core.localDisks.prefetch('warm'), core.localDisks.promotionCount]).toEqual([ok, 0]);
    expect([core.localDisks.prefetch('cold'), core.localDisks.prefetch('cold')]).toEqual([ok, ok]);
    expect(core.localDisks.takePromotions(holder)).toEqual({
      ok: [{ tenantId: tenant, key: 'cold', size: 10 }],
    });
    core.localDisks.startPromotion(holder, 'cold', 10, []);
    expect(core.localDisks.promoted(holder, 'cold')).toEqual(ok);
    expect(kinds(core, 'cold')).toContain('memory');
    core.checkInvariants();
    const { core: other } = coreWithDisk();
    other.localDisks.report(holder, [report('cold', 10)]);
    expect(other.localDisks.prefetch('cold')).toEqual({ error: ErrorCode.NOT_SUPPORTED });
  });

  it('is undone when its client dies or has no more time', () => {
    const { core, clock } = coreWithDisk({ ...promoting, putReleaseTimeoutMs: 60_000 });
    core.localDisks.report(holder, [report('a', 10)]);
    for (let read = 0; read < 2; read += 1) core.find('a');
    core.localDisks.takePromotions(holder);
    expect(core.localDisks.startPromotion(holder, 'a', 10, [])).toHaveProperty('ok');
    expect([core.usedByteCount, core.localDisks.promotionCount]).toEqual([10, 1]);
    for (let waitedMs = 0; waitedMs < 60_000; waitedMs += 5_000) {
      clock.advance(5_000);
      core.ping(holder);
      core.sweep();
    }
    expect([core.usedByteCount, core.localDisks.promotionCount]).toEqual([0, 0]);
    expect(core.counters.promotions.expired).toBe(1);
    core.checkInvariants();
    for (let read = 0; read < 2; read += 1) core.find('a');
    core.localDisks.startPromotion(holder, 'a', 10, []);
    expect(core.localDisks.unmount(holder)).toEqual(ok);
    expect([core.objectCount, core.localDisks.promotionCount]).toEqual([0, 0]);
    core.checkInvariants();
  });
});

describe('FrequencySketch', () => {
  it('never counts too little, rarely too much, and forgets', () => {
    const sketch = new FrequencySketch();
    let tooHighCount = 0;
    for (let number = 0; number < 1_000; number += 1) {
      if (sketch.increment(`key-${number}`) > 1) tooHighCount += 1;
    }
    expect(tooHighCount).toBeLessThan(20);
    expect([sketch.increment('hot'), sketch.increment('hot'), sketch.increment('hot')]).toEqual([
      1, 2, 3,
    ]);
    for (let number = 0; number < 16_384; number += 1) sketch.increment(`other-${number % 7}`);
    expect(sketch.increment('hot')).toBeLessThan(4);
  });
});
