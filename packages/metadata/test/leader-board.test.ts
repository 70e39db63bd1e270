import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { startEtcd, startRedis } from '@tsukimi/metadata/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { type LeaderBoard, openLeaderBoard, parseMetadataAddress } from '../src/index.ts';

const disposals: (() => unknown)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose();
});

let seed = 0;
async function board(url: string, ttlSec = 2, clusterId = 'c'): Promise<LeaderBoard> {
  const address = parseMetadataAddress(url, {});
  if (address.kind !== 'etcd' && address.kind !== 'redis') throw new Error(`no board at ${url}`);
  seed += 1;
  const ports = { clock: new SystemClock(), random: new SeededRandom(seed), logger: silentLogger };
  const opened = await openLeaderBoard({ address, clusterId, ttlSec, ...ports });
  disposals.push(() => opened.close());
  return opened;
}

async function started(kind: string) {
  const server = await (kind === 'etcd' ? startEtcd() : startRedis());
  disposals.push(() => server.dispose());
  return { server, url: `${kind}://127.0.0.1:${server.port}` };
}

describe.each(['etcd', 'redis'])('the lead in %s', (kind) => {
  it('belongs to one master at a time, and to the next when it is given up', async () => {
    const { url } = await started(kind);
    const [one, other] = [await board(url), await board(url)];
    expect(await one.read()).toBeNull();
    const first = await one.campaign('a:1');
    expect(first?.address).toBe('a:1');
    expect(await other.campaign('b:2')).toBeNull();
    expect(await other.read()).toEqual(first);
    expect(await one.renew()).toBe(true);
    expect(await other.renew()).toBe(false);
    await one.resign();
    const second = await other.campaign('b:2');
    expect(second?.version).toBeGreaterThan(first?.version as number);
    expect(await one.renew()).toBe(false);
    await one.resign();
    expect(await one.read()).toEqual(second);
    expect(await (await board(url, 2, 'another')).read()).toBeNull();
  });

  it('ends when nobody renews it', async () => {
    const { url } = await started(kind);
    const [one, other] = [await board(url, 1), await board(url, 1)];
    await one.campaign('a:1');
    await eventually(() => other.campaign('b:2'), 'the lead to end');
    expect(await one.renew()).toBe(false);
  });

  it('says so when the server does not answer', async () => {
    const { url, server } = await started(kind);
    const one = await board(url);
    await one.campaign('a:1');
    await server.dispose();
    await expect(one.renew()).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    await expect(one.read()).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });
});
