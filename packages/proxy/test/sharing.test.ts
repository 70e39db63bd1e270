import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Peers, PeerTopic } from '../src/index.ts';
import { ScriptedInstance } from '../src/testing.ts';
import { type Cluster, startCluster } from './cluster.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 4 };

/** Two workers in one process; what passes between them is cloned as it is between processes. */
function twoPeers(shares: string[]): readonly [Peers, Peers] {
  const told = [0, 1].map(() => new Map<PeerTopic, (value: unknown) => void>());
  const asks = [0, 1].map(() => new Map<PeerTopic, () => unknown>());
  const cloned = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
  const peer = (id: number): Peers => ({
    id,
    workerCount: 2,
    tell: (topic, value) => {
      told[1 - id]?.get(topic)?.(cloned(value));
      if (topic === 'shares') shares.push(JSON.stringify(value));
    },
    onTold: (topic, handle) => told[id]?.set(topic, handle),
    ask: async (topic) => {
      const answer = asks[1 - id]?.get(topic);
      return answer === undefined ? [] : [cloned(answer())];
    },
    onAsked: (topic, answer) => asks[id]?.set(topic, answer),
  });
  return [peer(0), peer(1)];
}

async function startTwo(
  fate: () => { kind: 'status'; status: number } | { kind: 'serve' } | { kind: 'hang' },
  argv: readonly string[] = [],
): Promise<readonly [Cluster, Cluster, shares: readonly string[]]> {
  const shares: string[] = [];
  const instance = await new ScriptedInstance({ fate }).start();
  onTestFinished(() => instance.kill());
  const [one, other] = twoPeers(shares);
  const options = { prefill: [], decode: [], argv: ['--decode', instance.address, ...argv] };
  const first = await startCluster({ ...options, peers: one });
  const second = await startCluster({ ...options, peers: other });
  onTestFinished(async () => {
    await first[Symbol.asyncDispose]();
    await second[Symbol.asyncDispose]();
  });
  return [first, second, shares];
}

describe('workers of one proxy', () => {
  it('know of the breaker that opened at another one', async () => {
    const [first, second] = await startTwo(() => ({ kind: 'status', status: 500 }));
    await (await first.post(asked)).text();
    const [there] = second.proxy.pool.instances;
    await eventually(
      () => there !== undefined && second.proxy.pool.breakerState(there) !== 'closed',
      'the breaker',
    );
    expect(there?.requestCount).toBe(0);
  });

  it('count what others have sent to an instance, until it is over', async () => {
    const [first, second] = await startTwo(() => ({ kind: 'hang' }));
    const [there] = second.proxy.pool.instances;
    const leaving = new AbortController();
    const left = first.post(asked, { signal: leaving.signal }).catch(() => null);
    await eventually(() => (there?.elsewhereTokenCount ?? 0) > 0, 'the load');
    const status = await (await fetch(`${second.url}/status`)).json();
    expect(status).toMatchObject({ workers: 2, requests_in_flight: 1 });
    leaving.abort();
    await left;
    await eventually(() => there?.elsewhereTokenCount === 0, 'its end');
  });

  it('share what a key may do', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsukimi-keys-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const path = join(directory, 'keys.json');
    const sha256 = createHash('sha256').update('k').digest('hex');
    const keys = [{ name: 'constructor', sha256, requests_per_minute: 2 }];
    writeFileSync(path, JSON.stringify({ keys }));
    const [first, second, shares] = await startTwo(
      () => ({ kind: 'serve' }),
      ['--api-keys-file', path],
    );
    const headers = { authorization: 'Bearer k' };
    const statuses = async (worker: Cluster, count: number) => {
      const seen: number[] = [];
      for (let at = 0; at < count; at += 1)
        seen.push((await worker.post(asked, { headers })).status);
      return seen;
    };
    expect(await statuses(first, 2)).toEqual([200, 200]);
    await eventually(() => shares.some((told) => told.includes('"constructor",')), 'the telling');
    expect(await statuses(second, 1)).toEqual([429]);
  });

  it('begin with the members that another one has, and without those that were taken out', async () => {
    const [mine, gone, added] = await Promise.all(
      [0, 1, 2].map(() => new ScriptedInstance({ engineId: 'e' }).start()),
    );
    onTestFinished(async () => {
      await Promise.all([mine, gone, added].map((one) => one?.kill()));
    });
    const [one, other] = twoPeers([]);
    const argv = ['--decode', String(mine?.address), '--decode', String(gone?.address)];
    const options = { prefill: [], decode: [], argv, env: { ADMIN_API_KEY: 'secret' } };
    await using first = await startCluster({ ...options, peers: one });
    const call = async (url: string, path: string, body: object) => {
      const headers = { 'content-type': 'application/json', 'x-api-key': 'secret' };
      const init = { method: 'POST', headers, body: JSON.stringify(body) };
      return (await fetch(`${url}/instances/${path}`, init)).status;
    };
    const decode = (instance: ScriptedInstance | undefined) => {
      return { type: 'decode', instance: instance?.address };
    };
    expect(await call(first.url, 'remove', decode(gone))).toBe(200);
    expect(await call(first.url, 'add', decode(added))).toBe(200);
    await using second = await startCluster({ ...options, peers: other });
    const addresses = second.proxy.pool.instances.map(({ address }) => address);
    expect(addresses).toEqual([mine?.address, added?.address]);
    // An operator took it out: that it registers itself does not bring it back.
    const register = { ...decode(gone), ttl_seconds: 10 };
    expect(await call(second.url, 'add', register)).toBe(409);
    expect(await call(second.url, 'drain', decode(added))).toBe(200);
    await eventually(() => first.proxy.pool.instances.length === 1, 'the same at the first one');
  });
});
