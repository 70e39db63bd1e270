import { SystemClock, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { ErrorCode, protocolOf, type Uuid } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import { PeerReleases, RpcClient, RpcServer } from '../src/index.ts';
import { opened, yes } from './harness.ts';

type Release = '0.3.9' | '0.3.11' | '0.3.12' | '0.3.13';

function callsOf(release: Release) {
  const { ExistKey, Ping, GetReplicaList, PutRevoke, PutEnd, DynamicReplicaCopyEnd } =
    protocolOf(release);
  return { ExistKey, Ping, GetReplicaList, PutRevoke, PutEnd, DynamicReplicaCopyEnd };
}
type Calls = {
  [K in keyof ReturnType<typeof callsOf>]: NonNullable<ReturnType<typeof callsOf>[K]>;
};

const calls = (release: Release) => callsOf(release) as Partial<Calls>;
const found = { ok: { replicas: [], leaseTtlMs: 5_000, objectChecksum: 7n } };
const heardWithoutChecksum = { ok: { ...found.ok, objectChecksum: null } };
const refused = { error: ErrorCode.OBJECT_NOT_FOUND };
const anna = '1-1' as Uuid;
const unsupported = 0x12345678;

async function serveAll(fallback: Release = '0.3.13') {
  const releases: Release[] = ['0.3.9', '0.3.11', '0.3.12', '0.3.13'];
  const peers = new PeerReleases<Calls>(
    releases.map((release) => ({ release, protocol: calls(release) })),
    fallback,
  );
  const heard: unknown[][] = [];
  const server = new RpcServer<Calls>({
    ...{ name: 'test', host: '127.0.0.1', port: 0, clock: new FakeClock(), logger: silentLogger },
    protocol: peers,
    refusals: new Map([[unsupported, 'SomeCall is not supported']]),
    handlers: {
      ExistKey: (args) => {
        heard.push([...args]);
        return yes;
      },
      Ping: () => ({ ok: { viewVersionId: 0, clientStatus: 1 } }),
      GetReplicaList: () => found,
      PutRevoke: () => refused,
      PutEnd: (args) => {
        heard.push([...args]);
        return refused;
      },
      DynamicReplicaCopyEnd: () => refused,
    },
  });
  await server.start();
  opened.push(() => server.stop(AbortSignal.abort()));
  const dial = (release: Release) => {
    const client = new RpcClient<Calls>({
      address: { host: '127.0.0.1', port: server.port },
      protocol: calls(release),
      clock: new SystemClock(),
    });
    opened.push(() => client.close());
    return client;
  };
  const guessed = () => Object.fromEntries(peers.guesses.filter(([, count]) => count > 0));
  return { server, peers, heard, dial, guessed };
}

const end = [anna, { key: 'k', objectChecksum: null }, 4, 'default'] as const;

describe('a server of several releases', () => {
  it('gives handlers the same values, whatever the layout of the request', async () => {
    const { heard, dial } = await serveAll();
    for (const release of ['0.3.9', '0.3.12', '0.3.13'] as const) {
      const client = dial(release);
      expect(await client.call('ExistKey', ['k', 'default'])).toEqual(yes);
      expect(await client.call('PutEnd', [...end])).toEqual(refused);
    }
    expect(heard).toEqual(Array.from({ length: 3 }, () => [['k', 'default'], [...end]]).flat());
  });

  it('answers in the layout that the connection has shown', async () => {
    const { dial, guessed, server } = await serveAll();
    const client = dial('0.3.12');
    await client.call('PutEnd', [...end]);
    expect(await client.call('GetReplicaList', ['k', 'default'])).toEqual(heardWithoutChecksum);
    expect(guessed()).toEqual({});
    expect([...server.connectionCountByRelease]).toEqual([['0.3.12', 1]]);
  });

  it('answers in the layout that another connection of the same client has shown', async () => {
    const { dial, guessed } = await serveAll();
    const [one, two, other] = [dial('0.3.12'), dial('0.3.12'), dial('0.3.13')];
    await other.call('PutEnd', ['2-2' as Uuid, { key: 'k', objectChecksum: 1n }, 4, 'default']);
    await one.call('PutEnd', [...end]);
    await two.call('Ping', [anna]);
    expect(await two.call('GetReplicaList', ['k', 'default'])).toEqual(heardWithoutChecksum);
    expect(guessed()).toEqual({});
  });

  it('guesses what others of the address have in common, and counts it', async () => {
    const { dial, guessed } = await serveAll();
    const [one, two] = [dial('0.3.12'), dial('0.3.12')];
    await one.call('PutEnd', [...end]);
    expect(await two.call('GetReplicaList', ['k', 'default'])).toEqual(heardWithoutChecksum);
    expect(guessed()).toEqual({ '0.3.12': 1 });
  });

  it('guesses the default where others of the address differ or are gone', async () => {
    const { dial, guessed, server } = await serveAll();
    const [old, current] = [dial('0.3.12'), dial('0.3.13')];
    await old.call('PutEnd', [...end]);
    await current.call('PutEnd', ['2-2' as Uuid, { key: 'k', objectChecksum: 1n }, 4, 'default']);
    const reader = dial('0.3.13');
    expect(await reader.call('GetReplicaList', ['k', 'default'])).toEqual(found);
    current.close();
    old.close();
    await expect.poll(() => server.connectionCount).toBe(1);
    expect(await reader.call('GetReplicaList', ['k', 'default'])).toEqual(found);
    expect(guessed()).toEqual({ '0.3.13': 2 });
    expect([...server.connectionCountByRelease]).toEqual([['0.3.12-0.3.13', 1]]);
    const silent = dial('0.3.13');
    await silent.call('Ping', ['3-3' as Uuid]);
    expect(server.connectionCountByRelease.get(null)).toBe(1);
  });

  it('guesses the default that was set, and the newest of those the request leaves', async () => {
    const { dial, guessed } = await serveAll('0.3.12');
    expect(await dial('0.3.12').call('GetReplicaList', ['k', 'default'])).toEqual(
      heardWithoutChecksum,
    );
    expect(await dial('0.3.11').call('GetReplicaList', ['k', 'default'])).toEqual(
      heardWithoutChecksum,
    );
    expect(guessed()).toEqual({ '0.3.12': 1, '0.3.11': 1 });
  });

  it('says which calls it does not have', async () => {
    const { dial } = await serveAll();
    const client = dial('0.3.13');
    client.speak({ Ping: { ...(calls('0.3.13').Ping as Calls['Ping']), functionId: unsupported } });
    await expect(client.call('Ping', [anna])).rejects.toThrow(/SomeCall is not supported/);
    await expect(client.call('ExistKey', ['k', 'default'])).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    });
  });

  it('forgets callers it has not heard of for long', () => {
    const peers = new PeerReleases<Calls>(
      (['0.3.12', '0.3.13'] as const).map((release) => ({ release, protocol: calls(release) })),
      '0.3.13',
    );
    for (let index = 0; index <= 65_536; index++) peers.callerShows(`${index}-0`, 1);
    expect([peers.ofCaller('0-0'), peers.ofCaller('1-0')]).toEqual([0, 1]);
    peers.callerShows('1-0', 2);
    expect(peers.ofCaller('1-0')).toBe(2);
  });
});
