import { SeededRandom, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import type { Identity } from '../src/core/identity.ts';
import { InstancePool } from '../src/core/instance-pool.ts';
import { noFacts } from '../src/core/policies/policy.ts';
import { roundRobin } from '../src/core/policies/round-robin.ts';
import type { PoolInstance } from '../src/core/pool-instance.ts';
import { deadlines } from '../src/deadlines.ts';
import { Membership } from '../src/membership/membership.ts';
import { identity } from './identity.ts';

const endpoint = { host: 'h', port: 1 };

function group(told: Partial<Identity> = {}) {
  const clock = new FakeClock();
  const engine = { identity: { ...identity, kvRole: 'kv_both', ...told } as Identity };
  const pool: InstancePool = new InstancePool({
    model: 'm',
    policies: { prefill: roundRobin, decode: roundRobin },
    random: new SeededRandom(1),
    instanceCountMax: 8,
    clock,
    onEvent: (event) => {
      if (event.kind === 'left') membership.left(event.instance);
    },
  });
  const membership: Membership = new Membership({
    pool,
    clock,
    deadlines,
    logger: silentLogger,
    watch: {
      identify: async () => engine.identity,
      watch: async (instance) => pool.identified(instance, engine.identity),
    },
  });
  return { clock, pool, membership, engine };
}

describe('a file of instances', () => {
  const at = (port: number, kind: 'prefill' | 'decode' = 'prefill') => ({
    ...{ kind, endpoint: { host: 'h', port } },
  });
  const shown = ({ pool }: ReturnType<typeof group>) =>
    pool.instances.map(
      ({ kind, endpoint: { port }, draining }) => `${kind} ${port}${draining ? ' drains' : ''}`,
    );

  async function following(...listed: ReturnType<typeof at>[]) {
    const all = group();
    all.membership.follow(listed);
    await all.membership.start();
    for (const instance of all.pool.instances) all.pool.identified(instance, identityOf(all));
    return all;
  }
  const identityOf = ({ engine }: ReturnType<typeof group>) => engine.identity;

  it('that changes elsewhere undoes neither a move nor a drain', async () => {
    const all = await following(at(1), at(2), at(3));
    const [first, second] = all.pool.instances as [PoolInstance, PoolInstance];
    all.membership.setKind([first], 'decode');
    const assignment = all.pool.assign('prefill', [second], noFacts, 0);
    all.membership.drain(second, 10_000);
    all.membership.follow([at(1), at(2), at(3), at(4)]);
    expect(shown(all)).toEqual(['decode 1', 'prefill 2 drains', 'prefill 3', 'prefill 4']);
    all.pool.release(assignment, 'answered', 0, 0);
    all.membership.follow([at(1), at(2), at(4)]);
    expect(shown(all)).toEqual(['decode 1', 'prefill 4']);
    // Gone from the file, and named anew: that is a change.
    all.membership.follow([at(4)]);
    all.membership.follow([at(4), at(2)]);
    expect(shown(all)).toEqual(['prefill 4', 'prefill 2']);
  });

  it('moves who is in the other list now, and keeps who came back while it drained', async () => {
    const all = await following(at(1), at(2));
    const [first] = all.pool.instances as [PoolInstance];
    all.membership.follow([at(2), at(1, 'decode')]);
    expect(shown(all)).toEqual(['decode 1', 'prefill 2']);
    const assignment = all.pool.assign('decode', [first], noFacts, 0);
    all.membership.follow([at(2)]);
    expect(shown(all)).toEqual(['decode 1 drains', 'prefill 2']);
    all.membership.follow([at(2), at(1, 'decode')]);
    expect(shown(all)).toEqual(['decode 1', 'prefill 2']);
    // The file says at last what was done by hand before: nothing is left to do.
    all.membership.setKind([first], 'prefill');
    all.membership.follow([at(2), at(1)]);
    expect([shown(all), all.pool.instances[0]]).toEqual([['prefill 1', 'prefill 2'], first]);
    all.pool.release(assignment, 'answered', 0, 0);
  });

  it('reaches one anew that is reached, or hands over, in another way', async () => {
    const all = await following(at(1));
    for (const said of [{ secure: true }, { pd: { protocol: 'nixl' } as const }]) {
      const [before] = all.pool.instances;
      all.membership.follow([{ kind: 'prefill', endpoint: { host: 'h', port: 1, ...said } }]);
      expect(shown(all)).toEqual(['prefill 1']);
      expect(all.pool.instances[0]).not.toBe(before);
      expect(all.pool.instances[0]?.endpoint).toMatchObject(said);
    }
  });
});

describe('a registration', () => {
  it('lasts while it is renewed', async () => {
    const { clock, pool, membership } = group();
    const { instance, joined } = await membership.register('decode', endpoint, 3_000);
    expect(joined).toBe(true);
    for (let count = 0; count < 5; count += 1) {
      clock.advance(2_999);
      // It moved since: where it was at first does not matter.
      const renewed = await membership.register('prefill', endpoint, 3_000);
      expect(renewed).toEqual({ instance, joined: false });
    }
    clock.advance(3_000);
    expect(pool.instances).toEqual([]);
    expect(clock.waitingCount).toBe(0);
  });

  it('drains one that is silent, and takes it back when it speaks', async () => {
    const { clock, pool, membership } = group();
    const { instance } = await membership.register('decode', endpoint, 3_000);
    const assignment = pool.assign('decode', [instance], noFacts, 0);
    clock.advance(3_000);
    expect([instance.draining, pool.instances.length]).toEqual([true, 1]);
    await membership.register('decode', endpoint, 3_000);
    expect([instance.draining, pool.up('decode')]).toEqual([false, [instance]]);
    clock.advance(3_000);
    clock.advance(deadlines.drainMs);
    expect(pool.instances).toEqual([]);
    pool.release(assignment, 'answered', 0, 0);
    pool.checkInvariants();
    expect(clock.waitingCount).toBe(0);
  });

  it('never undoes what an operator did', async () => {
    const { clock, pool, membership, engine } = group();
    const { instance } = await membership.register('decode', endpoint, 3_000);
    const assignment = pool.assign('decode', [instance], noFacts, 0);
    membership.drain(instance, 10_000);
    await membership.register('decode', endpoint, 3_000);
    expect(instance.draining).toBe(true);
    pool.release(assignment, 'answered', 0, 0);
    await expect(membership.register('decode', endpoint, 3_000)).rejects.toThrow(/operator/);
    engine.identity = { ...engine.identity, engineId: 'f' };
    expect((await membership.register('decode', endpoint, 3_000)).joined).toBe(true);
    const [other] = pool.instances;
    if (other !== undefined) membership.remove(other);
    await membership.add('decode', endpoint, 'admin');
    await membership.register('decode', endpoint, 3_000);
    clock.advance(60_000);
    expect(pool.instances.length).toBe(1);
  });

  it('is refused where the instance cannot do the work, or serves something else', async () => {
    const consumer = group({ kvRole: 'kv_consumer' });
    await expect(consumer.membership.register('prefill', endpoint, 3_000)).rejects.toThrow(
      'kv_role kv_consumer',
    );
    const other = group({ modelIds: ['x', 'y'] });
    await expect(other.membership.register('prefill', endpoint, 3_000)).rejects.toThrow(
      'serves "x", "y", not "m"',
    );
    expect(other.pool.instances).toEqual([]);
  });
});

describe('a drain', () => {
  it('ends at its deadline, or is called off by a new add', async () => {
    const { clock, pool, membership } = group();
    const instance = await membership.add('decode', endpoint, 'admin');
    const assignment = pool.assign('decode', [instance], noFacts, 0);
    membership.drain(instance, 500);
    expect(membership.keep(instance)).toBe(true);
    clock.advance(10_000);
    expect(pool.instances).toEqual([instance]);
    membership.drain(instance, 500);
    membership.drain(instance, 900);
    clock.advance(899);
    expect(pool.instances).toEqual([instance]);
    clock.advance(1);
    expect(pool.instances).toEqual([]);
    pool.release(assignment, { reason: 'reset', message: 'cut' }, 0, 0);
    pool.checkInvariants();
  });

  it('leaves no timer behind when the process stops', async () => {
    const { clock, pool, membership } = group();
    const { instance } = await membership.register('decode', endpoint, 3_000);
    pool.assign('decode', [instance], noFacts, 0);
    membership.drain(instance, 500);
    await membership.stop();
    expect(clock.waitingCount).toBe(0);
  });
});
