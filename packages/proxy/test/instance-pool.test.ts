import { SeededRandom } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { type Identity, servesModel } from '../src/core/identity.ts';
import { InstancePool, type PoolEvent } from '../src/core/instance-pool.ts';
import type { PdFacts } from '../src/core/pd-facts.ts';
import { noFacts } from '../src/core/policies/policy.ts';
import { roundRobin } from '../src/core/policies/round-robin.ts';
import { poolWarnings } from '../src/core/pool-warnings.ts';
import { identity } from './identity.ts';

function poolWithOne() {
  const clock = new FakeClock();
  const events: PoolEvent[] = [];
  const pool = new InstancePool({
    model: 'm',
    policies: { prefill: roundRobin, decode: roundRobin },
    random: new SeededRandom(1),
    instanceCountMax: 2,
    clock,
    onEvent: (event) => events.push(event),
  });
  return { pool, clock, events, one: pool.add('decode', { host: '::1', port: 1 }) };
}

describe('InstancePool', () => {
  it('uses an instance from its first good probe to its second bad one in a row', () => {
    const { pool, one } = poolWithOne();
    expect(pool.up('decode')).toEqual([]);
    pool.identified(one, identity);
    pool.probeFailed(one, 'late');
    pool.showedLife(one);
    pool.probeFailed(one, 'late');
    expect(pool.up('decode')).toEqual([one]);
    pool.probeFailed(one, 'late');
    expect(one.state).toEqual({ name: 'down', reason: 'late' });
    pool.identified(one, identity);
    expect(pool.up('decode')).toEqual([one]);
    pool.checkInvariants();
  });

  it('takes out at once an instance that refuses a connection, and no other failure', () => {
    const { pool, one } = poolWithOne();
    pool.identified(one, identity);
    for (const reason of ['status', 'reset', 'timeout', 'connect'] as const) {
      expect(one.state.name).toBe('up');
      const assignment = pool.assign('decode', [one], noFacts, 0);
      pool.release(assignment, { reason, message: 'broke' }, 0, 0);
    }
    expect(one).toMatchObject({ state: { name: 'down' }, requestCount: 4, failureCount: 4 });
    pool.checkInvariants();
  });

  it('never uses an instance with another model, and says so', () => {
    const { pool, one } = poolWithOne();
    pool.identified(one, { ...identity, modelIds: ['x'] });
    expect(one.state.name).toBe('mismatch');
    expect(pool.up('decode')).toEqual([]);
    expect(poolWarnings(pool.instances)).toEqual([
      'decode [::1]:1 serves "x", not "m" as --model says; it gets no requests',
    ]);
  });

  it('warns of instances that cannot share KVCache', () => {
    const { pool, one } = poolWithOne();
    pool.identified(one, identity);
    pool.identified(pool.add('prefill', { host: 'h', port: 2 }), {
      ...identity,
      tensorParallelSize: 2,
    });
    expect(poolWarnings(pool.instances)).toEqual([
      'tensor_parallel_size differs, so these never share KVCache: 1 ([::1]:1); 2 (h:2)',
    ]);
  });

  it.each<[PdFacts, PdFacts, string | null]>([
    [{ protocol: 'mooncake', bootstrap: null }, { protocol: 'auto' }, 'no bootstrap server'],
    [{ protocol: 'nixl_push', side: null }, { protocol: 'auto' }, 'engine_id and kv_port'],
    [{ protocol: 'nixl' }, { protocol: 'store' }, 'it speaks nixl, as no decode instance does'],
    [{ protocol: 'nixl' }, { protocol: 'auto' }, null],
  ])('warns of a prefill instance of %o before one of %o: %s', (prefill, decode, part) => {
    const { pool, one } = poolWithOne();
    const foreign = { ...identity, ours: false };
    pool.identified(one, { ...foreign, pd: decode });
    pool.identified(pool.add('prefill', { host: 'h', port: 2 }), { ...foreign, pd: prefill });
    const start = 'prefill h:2 hands nothing over: ';
    const expected = part === null ? [] : [expect.stringContaining(part)];
    expect(poolWarnings(pool.instances)).toEqual(expected);
    expect(poolWarnings(pool.instances).every((text) => text.startsWith(start))).toBe(true);
  });

  it('refuses a second one at the same address, and more than its limit', () => {
    const { pool } = poolWithOne();
    expect(() => pool.add('decode', { host: '::1', port: 1 })).toThrow(/already/);
    pool.add('prefill', { host: '::1', port: 1 });
    expect(() => pool.add('prefill', { host: 'h', port: 3 })).toThrow(/2 instances/);
  });
});

describe('the breaker of a leg', () => {
  function failing() {
    const { pool, clock, one } = poolWithOne();
    const other = pool.add('decode', { host: 'h', port: 2 });
    for (const instance of [one, other]) pool.identified(instance, identity);
    const attempt = (
      outcome: 'answered' | 'abandoned' | 'status' | 'refused',
      instance = one,
      leg: 'prefill' | 'decode' = 'decode',
    ) => {
      const assignment = pool.assign(leg, [instance], noFacts, 0);
      const failed = outcome === 'status' || outcome === 'refused';
      const told = failed ? { reason: outcome, message: 'x' } : outcome;
      pool.release(assignment, told, clock.monotonicMs(), 0);
      pool.checkInvariants();
    };
    const fail = (count: number, instance = one) => {
      for (let at = 0; at < count; at += 1) attempt('status', instance);
    };
    return { pool, clock, one, other, attempt, fail };
  }

  it('opens after four failures in a row, and lets one attempt decide after a while', () => {
    const { pool, clock, one, other, attempt, fail } = failing();
    fail(3);
    attempt('answered');
    fail(3);
    attempt('abandoned');
    expect(pool.up('decode')).toEqual([one, other]);
    fail(1);
    expect(pool.up('decode')).toEqual([other]);
    expect(pool.breakerState(one)).toBe('open');
    clock.advance(1_000);
    expect(pool.up('decode')).toEqual([one, other]);
    const trial = pool.assign('decode', [one], noFacts, 0);
    expect(pool.up('decode')).toEqual([other]);
    pool.release(trial, { reason: 'timeout', message: 'x' }, clock.monotonicMs(), 0);
    clock.advance(1_999);
    expect(pool.up('decode')).toEqual([other]);
    clock.advance(1);
    attempt('abandoned');
    expect(pool.up('decode')).toEqual([one, other]);
    attempt('answered');
    expect(pool.breakerState(one)).toBe('closed');
  });

  it('never counts a 4xx, nor what failed on the other leg', () => {
    const { pool, one, other, attempt } = failing();
    for (let at = 0; at < 9; at += 1) {
      attempt('refused');
      attempt('status', one, 'prefill');
    }
    expect(pool.up('decode')).toEqual([one, other]);
  });

  it('lets all in when all are open', () => {
    const { pool, one, other, attempt, fail } = failing();
    fail(4);
    fail(4, other);
    expect(pool.up('decode')).toEqual([one, other]);
    attempt('answered', other);
    expect(pool.up('decode')).toEqual([other]);
  });

  it('opens as at another process, and then as if it had been closed', () => {
    const { pool, clock, one, other, fail } = failing();
    pool.openedElsewhere(one, 500);
    expect(pool.up('decode')).toEqual([other]);
    clock.advance(500);
    expect(pool.up('decode')).toEqual([one, other]);
    fail(1);
    expect(pool.up('decode')).toEqual([other]);
    clock.advance(1_000);
    expect(pool.up('decode')).toEqual([one, other]);
  });

  it('opens for half a minute where its instance hangs, again and again', () => {
    const { pool, clock, one, other, fail } = failing();
    pool.hangs(one);
    for (let at = 0; at < 3; at += 1) {
      clock.advance(29_999);
      expect(pool.up('decode')).toEqual([other]);
      clock.advance(1);
      expect(pool.up('decode')).toEqual([one, other]);
      fail(1);
    }
  });

  it('never stays open beyond half a minute', () => {
    const { pool, clock, one, other, fail } = failing();
    for (let at = 0; at < 12; at += 1) {
      fail(4);
      clock.advance(30_000);
      expect(pool.up('decode')).toEqual([one, other]);
    }
  });
});

describe('an engine that came back as another one', () => {
  function comesBack(as: Partial<Identity>, before: Partial<Identity> = {}, gone = false) {
    const { pool, one, events } = poolWithOne();
    pool.identified(one, { ...identity, ...before });
    if (gone) pool.probeFailed(one, 'nobody there', true);
    pool.probeFailed(one, 'late');
    pool.identified(one, { ...identity, ...before, ...as });
    return events.flatMap((event) => (event.kind === 'replaced' ? [event.reason] : []));
  }

  it.each([
    [{ engineId: 'other' }, {}, 'it was started anew'],
    [{ fingerprint: 'g' }, {}, 'it has another fingerprint'],
    [{ modelIds: ['m', 'n'] }, {}, 'it serves other models'],
    [{ ours: false }, {}, 'it is of another make'],
  ])('is noticed by %j', (as, before, reason) => {
    expect(comesBack(as, before)).toEqual([reason]);
  });

  it('is taken for another one where it was gone and tells no id', () => {
    expect(comesBack({}, { engineId: null }, true)).toEqual(['it was gone']);
    expect(comesBack({}, { engineId: null })).toEqual([]);
    expect(comesBack({}, {}, true)).toEqual([]);
    expect(comesBack({ engineId: null })).toEqual([]);
  });
});

describe('leaving', () => {
  it('waits for what a draining instance has, and gives it nothing new', () => {
    const { pool, one, events } = poolWithOne();
    pool.identified(one, identity);
    const assignment = pool.assign('decode', [one], noFacts, 0);
    pool.drain(one);
    expect([pool.up('decode'), pool.instances]).toEqual([[], [one]]);
    pool.keep(one);
    expect(pool.up('decode')).toEqual([one]);
    pool.drain(one);
    pool.release(assignment, 'answered', 0, 0);
    expect(pool.instances).toEqual([]);
    expect(events.map(({ kind }) => kind)).toEqual(['state', 'left']);
    pool.checkInvariants();
  });

  it('counts what goes on at an instance that was removed', () => {
    const { pool, one, events } = poolWithOne();
    pool.identified(one, identity);
    const assignment = pool.assign('decode', [one], noFacts, 0);
    pool.remove(one);
    pool.remove(one);
    pool.checkInvariants();
    expect(one.state.name).toBe('down');
    pool.release(assignment, { reason: 'reset', message: 'cut' }, 0, 0);
    pool.identified(one, identity);
    pool.probeFailed(one, 'gone');
    pool.checkInvariants();
    expect(events.filter(({ kind }) => kind === 'left').length).toBe(1);
    expect(pool.add('decode', { host: '::1', port: 1 }).order).toBe(1);
  });

  it('changes the legs of an instance, but not into a second one', () => {
    const { pool, one } = poolWithOne();
    pool.identified(one, identity);
    const assignment = pool.assign('decode', [one], noFacts, 0);
    pool.setKind(one, 'prefill');
    expect([pool.up('prefill'), pool.up('decode')]).toEqual([[one], []]);
    pool.release(assignment, 'answered', 0, 0);
    pool.checkInvariants();
    pool.add('decode', { host: '::1', port: 1 });
    expect(() => pool.setKind(one, 'decode')).toThrow(/already/);
  });
});

describe('servesModel', () => {
  it('compares whole ids, over all that are served, or their last parts', () => {
    expect(servesModel(['a', 'org/m'], 'm')).toBe(true);
    expect(servesModel(['m'], '/models/m')).toBe(true);
    expect(servesModel(['m2', 'xm'], 'm')).toBe(false);
    expect(servesModel(['a/m'], 'b/m')).toBe(false);
    expect(servesModel([], 'm')).toBe(false);
  });
});
