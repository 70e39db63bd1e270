import { below, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { atOnce, configOf, coreForTests, segmentOf, uuid } from '../../src/testing.ts';

const leaseMs = 10_000;
const clientTtlMs = 10_000;
const suspicionTtlMs = 4_000;
const discardMs = 30_000;
const releaseMs = 600_000;
const overdueMs = 2_000;

interface ModelObject {
  writer: number;
  size: number;
  startedMs: number;
  isComplete: boolean;
  leaseUntilMs: number;
  hardPin: boolean;
  /** Segment, address: one a replica. */
  places: { segment: number; address: bigint }[];
}

/** The rules again, slow and plain: one map, no allocator, times compared one by one. */
class Model {
  readonly objects = new Map<string, ModelObject>();
  readonly mounted = new Map<number, { owner: number }>();
  readonly lastSeenMs = new Map<number, number>();
  readonly reported = new Set<number>();
  readonly suspects = new Set<number>();
  readonly absentSinceMs = new Map<number, number>();
  setAside: (ModelObject & { untilMs: number })[] = [];

  reachable({ places }: ModelObject): ModelObject['places'] {
    return places.filter(
      ({ segment }) => !this.suspects.has(this.mounted.get(segment)?.owner as number),
    );
  }

  isReadable(key: string): boolean {
    const object = this.objects.get(key);
    return object?.isComplete === true && this.reachable(object).length > 0;
  }

  /** Whether a put may have the key though it is there. */
  mayBeTakenOver(object: ModelObject, nowMs: number): boolean {
    if (object.isComplete) return this.reachable(object).length === 0;
    return nowMs - object.startedMs >= discardMs || this.absentSinceMs.has(object.writer);
  }

  seen(client: number, nowMs: number): void {
    this.lastSeenMs.set(client, nowMs);
    this.reported.delete(client);
    this.suspects.delete(client);
  }

  report(client: number, nowMs: number): void {
    this.reported.add(client);
    if (nowMs - (this.lastSeenMs.get(client) as number) > overdueMs) this.suspects.add(client);
  }

  disconnect(client: number, nowMs: number): void {
    this.absentSinceMs.set(client, nowMs);
    const lends = [...this.mounted.values()].some(({ owner }) => owner === client);
    if (lends) this.suspects.add(client);
  }

  lease(key: string, nowMs: number): void {
    const object = this.objects.get(key) as ModelObject;
    object.leaseUntilMs = nowMs + leaseMs;
  }

  unmount(segment: number): void {
    this.mounted.delete(segment);
    for (const [key, object] of this.objects) {
      object.places = object.places.filter((place) => place.segment !== segment);
      if (object.places.length === 0) this.objects.delete(key);
    }
    for (const object of this.setAside) {
      object.places = object.places.filter((place) => place.segment !== segment);
    }
  }

  reclaim(writer: number): void {
    for (const [key, object] of this.objects) {
      if (object.writer === writer && !object.isComplete) this.objects.delete(key);
    }
  }

  sweep(nowMs: number): void {
    for (const [client, seenMs] of this.lastSeenMs) {
      const silentMs = nowMs - seenMs;
      if (silentMs <= clientTtlMs + suspicionTtlMs) {
        const limitMs = this.reported.has(client) ? overdueMs : clientTtlMs;
        if (silentMs > limitMs) this.suspects.add(client);
        continue;
      }
      this.lastSeenMs.delete(client);
      this.reported.delete(client);
      this.suspects.delete(client);
      for (const [segment, { owner }] of this.mounted) if (owner === client) this.unmount(segment);
      this.reclaim(client);
    }
    for (const [client, sinceMs] of this.absentSinceMs) {
      if (nowMs - sinceMs <= clientTtlMs) continue;
      this.absentSinceMs.delete(client);
      for (const [key, object] of this.objects) {
        if (object.writer !== client || object.isComplete) continue;
        this.setAside.push({ ...object, untilMs: object.startedMs + releaseMs });
        this.objects.delete(key);
      }
    }
    for (const [key, object] of this.objects) {
      if (!object.isComplete && nowMs - object.startedMs >= releaseMs) this.objects.delete(key);
    }
    this.setAside = this.setAside.filter(({ untilMs }) => untilMs > nowMs);
  }

  usedByteCount(): number {
    let sum = 0;
    for (const { size, places } of [...this.objects.values(), ...this.setAside]) {
      sum += size * places.length;
    }
    return sum;
  }

  /** Drops what the core evicted, after checking that it had to be these and no others. */
  followEviction(keys: ReadonlySet<string>, nowMs: number): void {
    const gone = [...this.objects].filter(([key]) => !keys.has(key));
    if (gone.length === 0) return;
    for (const [key, object] of gone) {
      expect(object.isComplete && !object.hardPin && object.leaseUntilMs <= nowMs).toBe(true);
      this.objects.delete(key);
    }
    const newestGoneMs = Math.max(...gone.map(([, { leaseUntilMs }]) => leaseUntilMs));
    for (const object of this.objects.values()) {
      if (!object.isComplete || object.hardPin) continue;
      expect(object.leaseUntilMs).toBeGreaterThanOrEqual(newestGoneMs);
    }
  }
}

function run(seed: number, stepCount: number): void {
  const random = new SeededRandom(seed);
  const chance = (count: number) => below(random, count);
  const { core, clock } = coreForTests({
    clientTtlMs,
    clientSuspicionTtlMs: suspicionTtlMs,
    leaseTtlMs: leaseMs,
  });
  const model = new Model();
  const seen = (client: number) => model.seen(client, clock.monotonicMs());
  const done = { ok: undefined };

  for (let step = 0; step < stepCount; step += 1) {
    const nowMs = clock.monotonicMs();
    const key = `k${chance(40)}`;
    const client = 1 + chance(4);
    const object = model.objects.get(key);
    const writerGuard = object === undefined ? -704 : object.writer === client ? null : -601;

    switch (chance(13)) {
      case 0:
      case 1:
      case 2: {
        const size = 1 + chance(60);
        const replicaNum = 1 + chance(2);
        const hardPin = chance(20) === 0;
        const isUpsert = chance(4) === 0;
        const config = configOf({ replicaNum, withHardPin: hardPin });
        const asideByteCount = core.setAsideByteCount;
        const started = isUpsert
          ? core.upsertStart(uuid(client), key, size, config)
          : core.putStart(uuid(client), key, size, config);
        model.followEviction(new Set(core.keys()), nowMs);
        if (!isUpsert && object !== undefined && !model.mayBeTakenOver(object, nowMs)) {
          expect(started).toEqual({ error: -705 });
          break;
        }
        if ('error' in started) {
          expect(started.error).toBe(-200);
          break;
        }
        const places = started.ok.map(({ location }) => {
          const address = location.kind === 'memory' ? location.buffer.bufferAddress : 0n;
          return { segment: Number(address >> 40n), address };
        });
        const isSameBytes = isUpsert && object?.isComplete === true && object.size === size;
        if (!isSameBytes && object !== undefined && model.objects.get(key) === object) {
          const fromMs = object.isComplete ? nowMs : object.startedMs;
          // Making room may have evicted the very object that is replaced.
          if (core.setAsideByteCount > asideByteCount || object.places.length === 0) {
            model.setAside.push({ ...object, untilMs: fromMs + releaseMs });
          } else expect(object).toMatchObject({ isComplete: true, hardPin: false });
        }
        if (isSameBytes) expect(places).toEqual(object.places);
        else expect(new Set(places.map(({ segment }) => segment)).size).toBe(places.length);
        model.objects.set(key, {
          writer: client,
          size,
          startedMs: nowMs,
          isComplete: false,
          leaseUntilMs: isSameBytes ? object.leaseUntilMs : 0,
          hardPin: isUpsert && object !== undefined ? object.hardPin : hardPin,
          places,
        });
        break;
      }
      case 3:
      case 4: {
        const ended = core.putEnd(uuid(client), key, null, 4);
        expect(ended).toEqual(writerGuard === null ? done : { error: writerGuard });
        if (writerGuard === null && object !== undefined && !object.isComplete) {
          object.isComplete = true;
          object.leaseUntilMs = Math.max(object.leaseUntilMs, nowMs);
        }
        break;
      }
      case 5: {
        const expected = writerGuard ?? (object?.isComplete === true ? -700 : null);
        expect(core.putRevoke(uuid(client), key, 4)).toEqual(
          expected === null ? done : { error: expected },
        );
        if (expected !== null) break;
        for (const { segment } of object?.places ?? []) {
          const owner = model.mounted.get(segment)?.owner;
          if (owner !== undefined && owner !== client) model.report(owner, nowMs);
        }
        if (object !== undefined) {
          model.setAside.push({ ...object, untilMs: nowMs + clientTtlMs + suspicionTtlMs });
        }
        model.objects.delete(key);
        break;
      }
      case 6: {
        expect(core.exist(key)).toBe(model.isReadable(key));
        if (model.isReadable(key)) model.lease(key, nowMs);
        break;
      }
      case 7: {
        const found = core.find(key);
        if (object === undefined) expect(found).toEqual({ error: -704 });
        else if (!model.isReadable(key)) expect(found).toEqual({ error: -703 });
        else {
          expect(found).toHaveProperty('ok.replicas.length', model.reachable(object).length);
          model.lease(key, nowMs);
        }
        break;
      }
      case 8: {
        const force = chance(3) === 0;
        const expected =
          object === undefined
            ? -704
            : !force && object.leaseUntilMs > nowMs
              ? -706
              : object.isComplete
                ? null
                : -703;
        expect(core.remove(key, force)).toEqual(expected === null ? done : { error: expected });
        if (expected === null) model.objects.delete(key);
        break;
      }
      case 9: {
        const segment = 1 + chance(4);
        if (chance(4) > 0) {
          expect(core.mountSegment(segmentOf(segment, 400), uuid(client))).toEqual(done);
          if (!model.mounted.has(segment)) {
            model.mounted.set(segment, { owner: client });
            seen(client);
          }
        } else if (chance(4) === 0) {
          const owner = model.mounted.get(segment)?.owner;
          core.unmountSegment(uuid(segment), uuid(client));
          model.unmount(segment);
          const isLast = [...model.mounted.values()].every((other) => other.owner !== client);
          if (owner === client && isLast) model.reclaim(client);
        }
        break;
      }
      case 10: {
        for (const pinging of [1, 2, 3]) {
          if (chance(20) === 0) continue;
          core.ping(uuid(pinging));
          seen(pinging);
        }
        break;
      }
      case 11: {
        if (chance(2) === 0) {
          core.clientDisconnected(uuid(client));
          model.disconnect(client, nowMs);
        } else {
          core.clientConnected(uuid(client));
          model.absentSinceMs.delete(client);
        }
        break;
      }
      default: {
        clock.advance([1, 500, 3_000, 8_000][chance(4)] as number);
        core.sweep();
        model.sweep(clock.monotonicMs());
        core.evict();
        model.followEviction(new Set(core.keys()), clock.monotonicMs());
      }
    }

    core.checkInvariants();
    expect(core.objectCount).toBe(model.objects.size);
    expect(core.usedByteCount).toBe(model.usedByteCount());
    expect(core.segments().length).toBe(model.mounted.size);
  }

  clock.advance(releaseMs + leaseMs);
  core.sweep();
  atOnce(core.removeAll(false));
  expect([core.objectCount, core.usedByteCount, core.setAsideByteCount]).toEqual([0, 0, 0]);
  core.checkInvariants();
}

describe('MasterCore', () => {
  it.each([1, 2, 3, 4, 5, 6])('agrees with the plain rules at every step, seed %i', (seed) => {
    run(seed, 4_000);
  });
});
