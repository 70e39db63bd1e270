import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { HeldMemory } from '../src/core/held-memory.ts';
import { startCluster } from './cluster.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 512 };

describe('memory that requests share', () => {
  it('is never for one client alone, however many requests it makes', () => {
    const memory = new HeldMemory(1_000);
    const greedy = Array.from({ length: 100 }, () => memory.open('greedy'));
    expect(greedy.filter((one) => one.take(10))).toHaveLength(50);
    const next = Array.from({ length: 100 }, () => memory.open('next'));
    expect(next.filter((one) => one.take(10))).toHaveLength(25);
    expect(memory.open('another').take(100)).toBe(true);
    for (const one of [...greedy, ...next]) {
      one.release();
      one.release();
    }
    expect(memory.byteCount).toBe(100);
    expect(memory.open('greedy').take(450)).toBe(true);
  });

  it('is counted for bodies and answers, and given back', async () => {
    await using cluster = await startCluster();
    const { memory } = cluster.proxy;
    let most = 0;
    const take = memory.take.bind(memory);
    memory.take = (account, byteCount) => {
      most = Math.max(most, memory.byteCount + byteCount);
      return take(account, byteCount);
    };
    const body = JSON.stringify({ ...asked, max_tokens: 8 });
    const answer = await (await cluster.post(body)).text();
    expect(most).toBeGreaterThanOrEqual(body.length + answer.length);
    await eventually(() => memory.byteCount === 0, 'all to be given back');
  });

  it('refuses an answer that it has no room for, blames nobody, and asks nobody else', async () => {
    await using cluster = await startCluster({ decode: [{}, {}] });
    const { memory } = cluster.proxy;
    const others = [];
    // The others leave so little that the body fits, and the answer does not.
    for (let at = 0, byteCount = 2 ** 29; byteCount >= 512; at += 1, byteCount /= 2) {
      const other = memory.open(`other ${at}`);
      others.push(other);
      expect(other.take(byteCount)).toBe(true);
    }
    const refused = await cluster.post(asked);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await refused.json()).toMatchObject({ error: { message: /memory set aside/ } });
    expect([cluster.sent('prefill').length, cluster.sent('decode').length]).toEqual([1, 0]);
    expect(cluster.proxy.pool.instances.map(({ failureCount }) => failureCount)).toEqual([0, 0, 0]);
    for (const one of others) one.release();
    expect((await cluster.post(asked)).status).toBe(200);
    await eventually(() => memory.byteCount === 0, 'all to be given back');
  });
});
