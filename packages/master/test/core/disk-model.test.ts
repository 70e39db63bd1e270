import { below, SeededRandom } from '@tsukimi/base';
import { ReplicaType } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import type { TenantQuotas } from '../../src/core/tenant-quotas.ts';
import { configOf, coreForTests, segmentOf, uuid } from '../../src/testing.ts';

const { ALL, DISK, LOCAL_DISK } = ReplicaType;
const leaseMs = 400;
const clientTtlMs = 10_000;
const releaseMs = 60_000;
const quotaByteCount = 400;
const done = { ok: undefined };

/** What must be known of an object: where it lies, who reads it, until when nobody may take it. */
interface ModelObject {
  tenant: string;
  writer: number;
  size: number;
  startedMs: number;
  leaseUntilMs: number;
  memory: 'none' | 'begun' | 'complete' | 'promoting';
  segment: number;
  file: 'none' | 'begun' | 'complete';
  /** The client on whose disk it lies; 0: on none. */
  disk: number;
}

/** Objects that lie in up to three places, by plain rules: one map, no lists, no counters. */
class DiskModel {
  readonly objects = new Map<string, ModelObject>();

  kinds(name: string): string[] {
    const object = this.objects.get(name);
    if (object === undefined) return [];
    return [
      ...(object.memory === 'complete' ? ['memory'] : []),
      ...(object.file === 'complete' ? ['disk'] : []),
      ...(object.disk === 0 ? [] : ['localDisk']),
    ];
  }

  /** An object that nobody can read, and that is not being written, is none. */
  settle(name: string): void {
    const object = this.objects.get(name) as ModelObject;
    const isWritten = object.memory === 'begun' || object.file === 'begun';
    if (this.kinds(name).length === 0 && !isWritten) this.objects.delete(name);
  }

  loseSegment(segment: number): void {
    for (const [name, object] of this.objects) {
      if (object.segment !== segment || object.memory === 'none') continue;
      object.memory = 'none';
      this.settle(name);
    }
  }

  loseDisk(client: number): void {
    for (const [name, object] of this.objects) {
      if (object.disk !== client) continue;
      object.disk = 0;
      if (object.memory === 'promoting') object.memory = 'none';
      this.settle(name);
    }
  }

  /** Writers whose time is over or who are dead have begun nothing. */
  reclaim(isOver: (object: ModelObject) => boolean): void {
    for (const [name, object] of this.objects) {
      if ((object.memory !== 'begun' && object.file !== 'begun') || !isOver(object)) continue;
      if (object.memory === 'begun') object.memory = 'none';
      if (object.file === 'begun') object.file = 'none';
      this.settle(name);
    }
  }
}

function run(seed: number, stepCount: number) {
  const random = new SeededRandom(seed);
  const chance = (count: number) => below(random, count);
  const hasFiles = chance(2) === 0;
  const { core, clock } = coreForTests({
    ...{ leaseTtlMs: leaseMs, clientTtlMs, putReleaseTimeoutMs: releaseMs },
    ...{ putDiscardTimeoutMs: releaseMs - 1, isMultiTenant: true, enableOffload: true },
    ...{ offloadOnEvict: chance(2) === 0, offloadForceEvict: chance(2) === 0 },
    ...{ promotionOnHit: true, promotionAdmissionThreshold: 1, promotionMaxPerHeartbeat: 10 },
    ...{ sharedDirectory: hasFiles ? '/shared' : '', evictionHighWatermark: 0.7 },
  });
  const quotas = core.tenantQuotas as TenantQuotas;
  quotas.replace(
    new Map([
      ['a', quotaByteCount],
      ['b', quotaByteCount],
    ]),
  );
  const model = new DiskModel();
  const mounted = new Set<number>();
  const disks = new Set<number>();
  let offloaded = 0;

  const present = (tenant: string, key: string) => {
    const found = core.peek(key, tenant);
    if ('error' in found) return [];
    const kinds = found.ok.replicas.map(({ location }) => location.kind);
    return (['memory', 'disk', 'localDisk'] as const).filter((kind) => kinds.includes(kind));
  };
  /** Memory may have gone where nothing forbade it; nothing else may have changed. */
  const follow = (nowMs: number) => {
    for (const [name, object] of model.objects) {
      const key = name.slice(2);
      const seen: string[] = present(object.tenant, key);
      const wasEvicted = object.memory === 'complete' && !seen.includes('memory');
      if (wasEvicted) {
        if (object.leaseUntilMs > nowMs) expect(name).toBe('not leased');
        object.memory = 'none';
        model.settle(name);
      }
      const expected = model.kinds(name);
      if (seen.join() !== expected.join()) expect([name, seen]).toEqual([name, expected]);
    }
  };

  for (let step = 0; step < stepCount; step += 1) {
    const nowMs = clock.monotonicMs();
    const tenant = chance(2) === 0 ? 'a' : 'b';
    const key = `k${chance(12)}`;
    const name = `${tenant}/${key}`;
    const object = model.objects.get(name);
    const client = chance(3) > 0 && object !== undefined ? object.writer : 1 + chance(3);
    switch (chance(16)) {
      case 0:
      case 1:
      case 2: {
        const size = 10 + chance(50);
        const started = core.putStart(uuid(client), key, size, configOf(), tenant);
        follow(nowMs);
        const before = model.objects.get(name);
        if ('error' in started) break;
        const isOver = before === undefined || nowMs - before.startedMs >= releaseMs - 1;
        expect(isOver && model.kinds(name).length === 0).toBe(true);
        const [memory] = started.ok;
        const address = memory?.location.kind === 'memory' ? memory.location.buffer : null;
        model.objects.set(name, {
          ...{ tenant, writer: client, size, startedMs: nowMs, leaseUntilMs: 0, disk: 0 },
          memory: 'begun',
          segment: Number((address?.bufferAddress ?? 0n) >> 40n),
          file: hasFiles ? 'begun' : 'none',
        });
        break;
      }
      case 3:
      case 4:
      case 5: {
        const type = chance(3) > 0 ? ALL : DISK;
        const ended = core.putEnd(uuid(client), key, null, type, tenant);
        if (object === undefined || object.writer !== client) {
          expect(ended).toEqual({ error: object === undefined ? -704 : -601 });
          break;
        }
        const isWritten = object.memory === 'begun' || object.file === 'begun';
        if (!isWritten) break;
        expect(ended).toEqual(done);
        if (type === ALL && object.memory === 'begun') object.memory = 'complete';
        if (type === DISK && object.file === 'begun') object.file = 'complete';
        object.leaseUntilMs = Math.max(object.leaseUntilMs, nowMs);
        break;
      }
      case 6: {
        const isThere = core.exist(key, tenant);
        expect(isThere).toBe(model.kinds(name).length > 0);
        if (isThere && object !== undefined) object.leaseUntilMs = nowMs + leaseMs;
        break;
      }
      case 7:
      case 8: {
        const found = core.find(key, tenant);
        const kinds = model.kinds(name);
        if (kinds.length === 0)
          expect(found).toEqual({ error: object === undefined ? -704 : -703 });
        else if (object !== undefined) object.leaseUntilMs = nowMs + leaseMs;
        break;
      }
      case 9: {
        if (chance(4) > 0) break;
        const force = chance(2) === 0;
        const removed = core.remove(key, force, tenant);
        const isWhole =
          object !== undefined &&
          ['none', 'complete'].includes(object.memory) &&
          object.file !== 'begun';
        const isLeased = object !== undefined && object.leaseUntilMs > nowMs;
        const error =
          object === undefined ? -704 : !force && isLeased ? -706 : isWhole ? null : -703;
        expect(removed).toEqual(error === null ? done : { error });
        if (error === null) model.objects.delete(name);
        break;
      }
      case 10: {
        expect(core.mountSegment(segmentOf(client, 120), uuid(client))).toEqual(done);
        mounted.add(client);
        expect(core.localDisks.mount(uuid(client), true)).toEqual(done);
        disks.add(client);
        break;
      }
      case 11: {
        const taken = core.localDisks.takeOffloads(uuid(client), chance(6) > 0);
        if (!disks.has(client)) expect(taken).toEqual({ error: -101 });
        for (const task of 'ok' in taken ? taken.ok : []) {
          const byteCount = chance(4) === 0 ? -1 : task.size;
          const report = { tenant: task.tenantId, key: task.key, byteCount };
          const reported = [{ ...report, transportEndpoint: `disk:${client}` }];
          expect(core.localDisks.report(uuid(client), reported)).toEqual(done);
          const written = model.objects.get(`${task.tenantId}/${task.key}`);
          const isReadable = model.kinds(`${task.tenantId}/${task.key}`).length > 0;
          if (byteCount < 0 || written?.disk !== 0 || !isReadable) continue;
          written.disk = client;
          offloaded += 1;
        }
        break;
      }
      case 12: {
        const taken = core.localDisks.takePromotions(uuid(client));
        for (const task of 'ok' in taken ? taken.ok : []) {
          const promoted = model.objects.get(`${task.tenantId}/${task.key}`);
          const { tenantId, size } = task;
          const started = core.localDisks.startPromotion(
            uuid(client),
            task.key,
            size,
            [],
            tenantId,
          );
          if ('error' in started || promoted === undefined) continue;
          const { location } = started.ok.memoryDescriptor;
          promoted.memory = 'promoting';
          promoted.segment = Number(
            (location.kind === 'memory' ? location.buffer.bufferAddress : 0n) >> 40n,
          );
          if (chance(4) === 0) continue;
          if (chance(3) === 0) {
            expect(core.localDisks.notPromoted(uuid(client), task.key, tenantId)).toEqual(done);
            promoted.memory = 'none';
          } else {
            expect(core.localDisks.promoted(uuid(client), task.key, tenantId)).toEqual(done);
            promoted.memory = 'complete';
          }
        }
        break;
      }
      case 13: {
        if (chance(4) > 0) break;
        const type = chance(2) === 0 ? DISK : LOCAL_DISK;
        const evicted = core.localDisks.evict(uuid(client), key, type, tenant);
        expect(evicted).toEqual(object === undefined ? { error: -704 } : done);
        if (object === undefined) break;
        if (type === DISK) object.file = 'none';
        else if (object.disk === client) object.disk = 0;
        if (type === LOCAL_DISK && object.disk === 0 && object.memory === 'promoting') {
          if (model.kinds(name).length === 0) object.memory = 'none';
        }
        model.settle(name);
        break;
      }
      case 14: {
        if (chance(12) > 0) break;
        if (chance(2) === 0) {
          core.localDisks.unmount(uuid(client));
          disks.delete(client);
          model.loseDisk(client);
        } else {
          core.unmountSegment(uuid(client), uuid(client));
          if (!mounted.delete(client)) break;
          model.loseSegment(client);
          model.reclaim(({ writer }) => writer === client);
        }
        break;
      }
      default: {
        clock.advance([10, 500, 3_000][chance(3)] as number);
        for (let other = 1; other <= 3; other += 1) core.ping(uuid(other));
        core.sweep();
        const laterMs = clock.monotonicMs();
        model.reclaim(({ startedMs }) => laterMs - startedMs >= releaseMs);
        core.evict();
        follow(laterMs);
      }
    }
    core.checkInvariants();
    follow(clock.monotonicMs());
    for (const { tenantId, chargedByteCount } of quotas.list()) {
      expect([tenantId, chargedByteCount <= quotaByteCount]).toEqual([tenantId, true]);
    }
    expect(core.objectCount).toBe(model.objects.size);
  }
  return { counters: core.counters, offloaded };
}

describe('a core with disks, shared files and tenants', () => {
  it('agrees with the plain rules at every step, whatever comes', () => {
    let [promotedCount, evictedCount, offloadedCount] = [0, 0, 0];
    for (let seed = 1; seed <= 6; seed += 1) {
      const { counters, offloaded } = run(seed, 1_500);
      promotedCount += counters.promotions.completed;
      evictedCount += counters.evictedObjects;
      offloadedCount += offloaded;
    }
    expect([promotedCount > 10, evictedCount > 100, offloadedCount > 50]).toEqual([
      true,
      true,
      true,
    ]);
  }, 30_000);
});
