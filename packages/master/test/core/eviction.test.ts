import { describe, expect, it } from 'vitest';
import type { MasterCore } from '../../src/core/master-core.ts';
import { configOf, coreForTests, peek, segmentOf, uuid } from '../../src/testing.ts';

function coreWith(capacity: number, options = {}) {
  const { core, clock } = coreForTests({ clientTtlMs: 1e9, ...options });
  core.mountSegment(segmentOf(1, capacity), uuid(1));
  return { core, clock };
}

function put(core: MasterCore, key: string, fields = {}, byteCount = 10): boolean {
  const started = core.putStart(uuid(2), key, byteCount, configOf(fields));
  return 'ok' in started && 'ok' in core.putEnd(uuid(2), key, null, 4);
}

/** Evicts until nothing is due or nothing can go. */
function settle(core: MasterCore): void {
  while (core.isEvictionDue && core.evict() > 0) core.checkInvariants();
}

describe('eviction', () => {
  it('begins above the watermark and takes the least recently leased first', () => {
    const { core, clock } = coreWith(1_000, { evictionRatio: 0.1 });
    for (let index = 0; index < 90; index += 1) {
      clock.advance(1);
      put(core, `k${index}`);
    }
    expect(core.isEvictionDue).toBe(false);
    core.exist('k0');
    clock.advance(10_000);
    put(core, 'one-more');
    expect(core.isEvictionDue).toBe(true);
    settle(core);
    expect([...core.keys()].slice(0, 2)).toEqual(['k0', 'k12']);
    expect(core.usedByteCount).toBe(800);
  });

  it('makes room for a put that finds none, by taking no more than it needs', () => {
    const { core } = coreWith(100, { evictionHighWatermark: 1 });
    for (let index = 0; index < 10; index += 1) put(core, `k${index}`);
    expect(put(core, 'small')).toBe(true);
    expect(core.objectCount).toBe(10);
    expect(put(core, 'large', {}, 30)).toBe(true);
    core.checkInvariants();
    expect(peek(core, 'small')).not.toBeNull();
  });

  it('leaves leased objects alone, so a put may fail until a lease ends', () => {
    const { core, clock } = coreWith(20);
    for (const key of ['a', 'b']) {
      put(core, key);
      core.exist(key);
    }
    expect(put(core, 'c')).toBe(false);
    expect([core.isEvictionDue, core.evict()]).toEqual([true, 0]);
    clock.advance(10_000);
    expect(put(core, 'c')).toBe(true);
    expect([core.exist('a'), core.exist('b')]).toEqual([false, true]);
  });

  it('never takes hard pinned objects, and soft pinned ones only when nothing else is left', () => {
    const { core } = coreWith(30, { evictionHighWatermark: 1 });
    put(core, 'hard', { withHardPin: true });
    put(core, 'soft', { softPinAction: 1 });
    put(core, 'plain');
    expect([put(core, 'a'), peek(core, 'plain')]).toEqual([true, null]);
    expect([put(core, 'b', { withHardPin: true }), peek(core, 'a')]).toEqual([true, null]);
    expect([put(core, 'c', { withHardPin: true }), peek(core, 'soft')]).toEqual([true, null]);
    expect(put(core, 'd')).toBe(false);
    expect([...core.keys()]).toEqual(['hard', 'b', 'c']);
  });

  it('spares soft pinned objects altogether if so told, until their pin ends', () => {
    const { core, clock } = coreWith(10, { evictSoftPinned: false });
    put(core, 'soft', { softPinAction: 1, softPinTtlMs: 50 });
    expect([put(core, 'a'), core.softPinnedCount]).toEqual([false, 1]);
    clock.advance(50);
    expect([put(core, 'a'), core.softPinnedCount]).toEqual([true, 0]);
    core.checkInvariants();
  });

  it('takes a group together, or not at all while one of it is leased', () => {
    const { core, clock } = coreWith(30, { evictionHighWatermark: 1 });
    put(core, 'a', { groupIds: ['g'] });
    put(core, 'b', { groupIds: ['g'] });
    put(core, 'c');
    core.exist('b');
    expect(core.remove('a', false)).toEqual({ error: -706 });
    expect([put(core, 'd'), peek(core, 'c')]).toEqual([true, null]);
    clock.advance(10_000);
    core.exist('d');
    expect(put(core, 'e')).toBe(true);
    expect([...core.keys()]).toEqual(['d', 'e']);
    core.checkInvariants();
  });

  it('does not empty the cache for an object that can never fit', () => {
    const { core } = coreWith(100);
    put(core, 'k');
    expect(core.putStart(uuid(2), 'giant', 101, configOf())).toEqual({ error: -200 });
    expect(peek(core, 'k')).not.toBeNull();
  });
});
