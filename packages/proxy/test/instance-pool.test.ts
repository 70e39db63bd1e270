import { SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { InstancePool, servesModel } from '../src/core/instance-pool.ts';
import { noFacts } from '../src/core/policies/policy.ts';
import { roundRobin } from '../src/core/policies/round-robin.ts';

const identity = {
  modelIds: ['m'],
  models: [],
  ours: true,
  fingerprint: 'f',
  tensorParallelSize: 1,
};

function poolWithOne() {
  const pool = new InstancePool({
    model: 'm',
    policies: { prefill: roundRobin, decode: roundRobin },
    random: new SeededRandom(1),
    instanceCountMax: 2,
  });
  return { pool, one: pool.add('decode', { host: '::1', port: 1 }) };
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
      pool.release(assignment, { reason, message: 'broke' }, 5, 0);
    }
    expect(one).toMatchObject({ state: { name: 'down' }, requestCount: 4, failureCount: 4 });
    pool.checkInvariants();
  });

  it('never uses an instance with another model, and says so', () => {
    const { pool, one } = poolWithOne();
    pool.identified(one, { ...identity, modelIds: ['x'] });
    expect(one.state.name).toBe('mismatch');
    expect(pool.up('decode')).toEqual([]);
    expect(pool.warnings()).toEqual([
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
    expect(pool.warnings()).toEqual([
      'tensor_parallel_size differs, so these never share KVCache: 1 ([::1]:1); 2 (h:2)',
    ]);
  });

  it('refuses a second one at the same address, and more than its limit', () => {
    const { pool } = poolWithOne();
    expect(() => pool.add('decode', { host: '::1', port: 1 })).toThrow(/already/);
    pool.add('prefill', { host: '::1', port: 1 });
    expect(() => pool.add('prefill', { host: 'h', port: 3 })).toThrow(/2 instances/);
  });
});

describe('servesModel', () => {
  it('compares whole ids, over all that are served, or their last parts', () => {
    expect(servesModel(['a', 'org/m'], 'm')).toBe(true);
    expect(servesModel(['m'], '/models/m')).toBe(true);
    expect(servesModel(['m2', 'xm'], 'm')).toBe(false);
    expect(servesModel([], 'm')).toBe(false);
  });
});
