import { TaskStatus, type Uuid } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import { JobStatus } from '../../src/core/drain-jobs.ts';
import type { MasterCore } from '../../src/core/master-core.ts';
import { configOf, coreForTests, peek, segmentOf, uuid } from '../../src/testing.ts';

const [one, two, writer] = [uuid(1), uuid(2), uuid(9)];
const [a, b] = ['host:1', 'host:2'];
const tenant = 'default';
const ok = { ok: undefined };

function pool(options: Parameters<typeof coreForTests>[0] = {}) {
  const { core, clock } = coreForTests(options);
  for (const [number, client] of [
    [1, one],
    [2, two],
  ] as const) {
    core.mountSegment(segmentOf(number, 1_000), client);
    core.remountSegments([segmentOf(number, 1_000)], client);
  }
  /** Time passes, and the clients are there. */
  const pass = (ms: number, pinging: readonly Uuid[] = [one, two]) => {
    for (let left = ms; left > 0; left -= 1_000) {
      clock.advance(Math.min(left, 1_000));
      for (const client of pinging) core.ping(client);
      core.sweep();
      core.checkInvariants();
    }
  };
  return { core, clock, pass };
}

function put(core: MasterCore, key: string, segment = a, byteCount = 100): void {
  core.putStart(writer, key, byteCount, configOf({ preferredSegment: segment }));
  expect(core.putEnd(writer, key, null, 4)).toEqual(ok);
}

const places = (core: MasterCore, key: string) =>
  peek(core, key)?.map(({ location }) =>
    location.kind === 'memory' ? location.buffer.transportEndpoint : location.kind,
  ) ?? null;

describe('a copy', () => {
  it('keeps its source from eviction, and is read once it has ended', () => {
    const { core } = pool({ evictionHighWatermark: 0.01, evictionRatio: 1 });
    put(core, 'k');
    put(core, 'other');
    expect(core.replication.startCopy(one, 'k', tenant, a, [b, b])).toHaveProperty(
      'ok.targets.length',
      1,
    );
    core.evict();
    expect([places(core, 'k'), places(core, 'other')]).toEqual([[a], null]);
    expect(core.replication.endCopy([one, 'k', tenant])).toEqual(ok);
    expect(places(core, 'k')).toEqual([a, b]);
    core.checkInvariants();
  });

  it('is revoked when its client dies, or when it takes too long', () => {
    const { core, pass } = pool({ putReleaseTimeoutMs: 30_000 });
    put(core, 'dead', b);
    put(core, 'slow', a);
    core.replication.startCopy(one, 'dead', tenant, b, [a]);
    pass(11_000, [two]);
    expect(core.replication.endCopy([one, 'dead', tenant])).toEqual({ error: -709 });
    expect(places(core, 'dead')).toEqual([b]);
    core.mountSegment(segmentOf(1, 1_000), one);
    put(core, 'slow', b);
    core.replication.startCopy(two, 'slow', tenant, b, [a]);
    pass(31_000);
    expect(core.replication.endCopy([two, 'slow', tenant])).toEqual({ error: -709 });
    expect(core.remove('slow', true)).toEqual(ok);
    core.checkInvariants();
  });

  it('that is revoked leaves its bytes alone as long as a holder that hangs is not given up', () => {
    const { core, pass } = pool({ clientSuspicionTtlMs: 5_000 });
    put(core, 'k', b);
    core.replication.startCopy(one, 'k', tenant, b, [a]);
    expect(core.replication.revokeCopy([one, 'k', tenant])).toEqual(ok);
    expect([places(core, 'k'), core.setAsideByteCount]).toEqual([[b], 100]);
    pass(14_000);
    expect(core.setAsideByteCount).toBe(100);
    pass(1_000);
    expect(core.setAsideByteCount).toBe(0);
    core.checkInvariants();
  });

  it('leaves nothing of targets that did not all fit', () => {
    const { core } = pool();
    core.mountSegment(segmentOf(3, 1_000), two);
    put(core, 'k', a, 600);
    put(core, 'full', 'host:3', 600);
    expect(core.replication.startCopy(one, 'k', tenant, a, [b, 'host:3'])).toEqual({ error: -200 });
    expect(core.usedByteCount).toBe(1_200);
    core.checkInvariants();
  });
});

describe('a move', () => {
  it('leaves the bytes of its source alone for those who read them', () => {
    const { core, pass } = pool({ putReleaseTimeoutMs: 30_000 });
    put(core, 'k');
    core.replication.startMove(one, 'k', tenant, a, b);
    expect(core.replication.endMove(one, 'k', tenant)).toEqual(ok);
    expect([places(core, 'k'), core.setAsideByteCount]).toEqual([[b], 100]);
    pass(31_000);
    expect([core.setAsideByteCount, core.usedByteCount]).toEqual([0, 100]);
  });

  it('ends without effect when its target has gone', () => {
    const { core } = pool();
    put(core, 'k');
    core.replication.startMove(one, 'k', tenant, a, b);
    core.unmountSegment(uuid(2), two);
    expect(core.replication.endMove(one, 'k', tenant)).toEqual({ error: -712 });
    expect(places(core, 'k')).toEqual([a]);
    core.checkInvariants();
  });
});

describe('tasks', () => {
  const status = (core: MasterCore, id: Uuid) => {
    const answer = core.tasks.query(id);
    return 'ok' in answer ? [answer.ok.status, answer.ok.message] : answer.error;
  };
  const create = (core: MasterCore, source = a) => {
    const target = source === a ? b : a;
    const created = core.tasks.createMove('k', tenant, source, target);
    if ('error' in created) throw new Error(`refused: ${created.error}`);
    return created.ok;
  };

  it('end by time, waiting or in work, and when their client dies', () => {
    const limits = { taskPendingTimeoutMs: 5_000, taskProcessingTimeoutMs: 20_000 };
    const { core, pass } = pool(limits);
    put(core, 'k');
    const [working, waiting] = [create(core), create(core)];
    expect(core.tasks.fetch(one, 1)).toHaveProperty('ok.length', 1);
    pass(6_000);
    expect(status(core, waiting)).toEqual([TaskStatus.FAILED, 'pending timeout']);
    expect(status(core, working)).toEqual([TaskStatus.PROCESSING, '']);
    pass(15_000);
    expect(status(core, working)).toEqual([TaskStatus.FAILED, 'processing timeout']);
    const orphan = create(core);
    core.tasks.fetch(one, 1);
    pass(11_000, [two]);
    expect(status(core, orphan)).toEqual([TaskStatus.FAILED, 'the client is gone']);
  });

  it('are remembered for a while after they end, the latest ones', () => {
    const { core } = pool({ taskFinishedCountMax: 2 });
    put(core, 'k');
    const ids = [create(core), create(core), create(core)] as const;
    core.tasks.fetch(one, 3);
    for (const id of ids) {
      core.tasks.complete(one, { id, status: TaskStatus.SUCCESS, message: '' });
      core.checkInvariants();
    }
    expect(ids.map((id) => status(core, id))).toEqual([-1400, [3, ''], [3, '']]);
  });
});

describe('an object that is read often', () => {
  const options = { dynamicReplicationMode: 'enforce', hotReadsPerSecond: 0.3 } as const;
  const read = (core: MasterCore, count: number) => {
    for (let index = 0; index < count; index += 1) core.find('k');
  };
  const fetched = (core: MasterCore) => {
    const answer = core.tasks.fetch(one, 16);
    return 'ok' in answer ? answer.ok : [];
  };

  it('is copied by the client that holds it, and by nobody else', () => {
    const { core, pass } = pool(options);
    put(core, 'k');
    read(core, 2);
    pass(11_000);
    read(core, 2);
    expect(fetched(core)).toEqual([]);
    read(core, 1);
    const [task] = fetched(core);
    const {
      dynamic_replication_version_epoch: epoch,
      source,
      targets,
    } = JSON.parse(task?.payload ?? '{}');
    const [, high, low] =
      /lease_id_high":(\d+),.*lease_id_low":(\d+)/.exec(task?.payload ?? '') ?? [];
    const id = `${high}-${low}` as Uuid;
    expect([source, targets]).toEqual([a, [b]]);
    expect(core.replication.startCopy(one, 'k', tenant, a, [b])).toEqual({ error: -708 });
    const start = (client: Uuid, lease: Uuid, version: number) =>
      core.replication.startLeasedCopy(client, 'k', tenant, a, [b], lease, version);
    expect(start(one, uuid(5), epoch)).toEqual({ error: -300 });
    expect(start(two, id, epoch)).toEqual({ error: -601 });
    expect(start(one, id, epoch)).toHaveProperty('ok.targets.length', 1);
    expect(core.replication.endCopy([one, 'k', tenant])).toEqual({ error: -300 });
    expect(core.replication.endCopy([one, 'k', tenant], { id, epoch })).toEqual(ok);
    expect(places(core, 'k')).toEqual([a, b]);
    pass(31_000);
    read(core, 20);
    expect(fetched(core)).toEqual([]);
  });

  it('is only counted when nobody asked for more, and is free again when nobody copies it', () => {
    const observing = pool({ ...options, dynamicReplicationMode: 'observe' });
    put(observing.core, 'k');
    read(observing.core, 10);
    expect([observing.core.counters.hotObjects, fetched(observing.core)]).toEqual([1, []]);
    const { core, pass } = pool(options);
    put(core, 'k');
    read(core, 3);
    pass(31_000);
    expect(core.replication.startCopy(one, 'k', tenant, a, [b])).toHaveProperty('ok');
    core.checkInvariants();
  });
});

describe('a drain job', () => {
  /** Does what clients do with their tasks. */
  function work(core: MasterCore, status: number): number {
    let count = 0;
    for (const client of [one, two]) {
      const fetched = core.tasks.fetch(client, 16);
      for (const { id, payload } of 'ok' in fetched ? fetched.ok : []) {
        const { key, source, target } = JSON.parse(payload);
        if (status === TaskStatus.SUCCESS) {
          core.replication.startMove(client, key, tenant, source, target);
          core.replication.endMove(client, key, tenant);
        }
        core.tasks.complete(client, { id, status, message: '' });
        count += 1;
      }
    }
    return count;
  }

  const request = { segments: [a], targetSegments: [], concurrency: 2 };
  function begin(core: MasterCore) {
    const created = core.drains.create(request);
    if ('error' in created) throw new Error(`refused: ${created.error}`);
    return created.ok;
  }

  it('empties a segment with few moves at a time, waits for leases, and takes nothing new', () => {
    const { core, clock } = pool({ leaseTtlMs: 5_000 });
    for (const key of ['k1', 'k2', 'k3', 'leased']) put(core, key);
    core.exist('leased');
    const id = begin(core);
    core.drains.step();
    expect(core.drains.get(id)).toMatchObject({ status: JobStatus.RUNNING, blockedCount: 1 });
    expect(work(core, TaskStatus.SUCCESS)).toBe(2);
    put(core, 'new', a);
    expect(places(core, 'new')).toEqual([b]);
    core.drains.step();
    expect(work(core, TaskStatus.SUCCESS)).toBe(1);
    core.drains.step();
    expect(core.segmentStatus(a)).toEqual({ ok: 2 });
    clock.advance(5_001);
    core.drains.step();
    expect(work(core, TaskStatus.SUCCESS)).toBe(1);
    core.drains.step();
    expect(core.drains.get(id)).toMatchObject({
      status: JobStatus.SUCCEEDED,
      succeededCount: 4,
      failedCount: 0,
      blockedCount: 0,
      migratedByteCount: 400,
    });
    expect([core.segmentStatus(a), places(core, 'k1')]).toEqual([{ ok: 3 }, [b]]);
    core.checkInvariants();
  });

  it('gives up what fails three times, and lets the segment take objects again', () => {
    const { core } = pool();
    put(core, 'k');
    const id = begin(core);
    for (let round = 0; round < 3; round += 1) {
      core.drains.step();
      expect(work(core, TaskStatus.FAILED)).toBe(1);
    }
    core.drains.step();
    expect(core.drains.get(id)).toMatchObject({ status: JobStatus.FAILED, failedCount: 3 });
    expect(core.segmentStatus(a)).toEqual({ ok: 1 });
  });

  it('is cancelled between moves, and not while one is under way', () => {
    const { core } = pool();
    put(core, 'k');
    core.exist('k');
    const id = begin(core);
    core.drains.step();
    expect(core.drains.cancel(id)).toEqual(ok);
    expect([core.segmentStatus(a), core.drains.cancel(id)]).toEqual([{ ok: 1 }, { error: -1010 }]);
    core.checkInvariants();
  });
});
