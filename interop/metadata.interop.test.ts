import { setTimeout as pause } from 'node:timers/promises';
import { SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { openMetadataStore, parseMetadataAddress, rpcMetaKey, segmentKey } from '@tsukimi/metadata';
import { freePort, startEtcd, startRedis } from '@tsukimi/metadata/testing';
import { describe, expect, it } from 'vitest';
import { freePorts, Processes, sized, untilReady } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';
import { type OwnClient, startOwnClient } from './own-client.ts';
import { answered, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

/** A metadata server of one kind, running. */
interface Metadata extends AsyncDisposable {
  /** As `metadata_server` of mooncake.json. */
  readonly url: string;
  kill(): Promise<void>;
  startAgain(): Promise<void>;
}

const segmentByteCount = 128 << 20;
const valueByteCount = 64 << 10;
const restartedMs = sized({ smoke: 1_000, full: 5_000 });

/** Something that puts and gets, real or ours. */
interface Peer {
  readonly name: string;
  put(key: string, seed: number, byteCount: number): Promise<boolean>;
  hasRead(key: string, seed: number, byteCount: number): Promise<boolean>;
}

async function startPython(processes: Processes, master: Master, metadata: string, port: number) {
  const python = new PythonClient(processes, installWheel());
  const name = `127.0.0.1:${port}`;
  const setup = { name, metadata, master: master.address, segmentByteCount };
  expect(await python.setup({ ...setup, bufferByteCount: 32 << 20 })).toBe(0);
  return python;
}

function startOwn(master: Master, metadata: string, port: number): Promise<OwnClient> {
  const name = `127.0.0.1:${port}`;
  return startOwnClient({ name, metadata, master: master.address, segmentByteCount });
}

const pythonPeer = (python: PythonClient): Peer => ({
  name: 'the real client',
  put: async (key, seed, byteCount) =>
    (await python.store('put', key, pattern(seed, byteCount))) === 0,
  hasRead: async (key, seed, byteCount) => {
    const read = await python.store('get', key);
    return JSON.stringify(read) === JSON.stringify(answered(patternBytes(seed, byteCount)));
  },
});

const ownPeer = ({ store }: OwnClient): Peer => ({
  name: 'our client',
  put: async (key, seed, byteCount) =>
    (await store.put(key, patternBytes(seed, byteCount))) === 'stored',
  hasRead: async (key, seed, byteCount) =>
    (await store.get(key, byteCount))?.equals(patternBytes(seed, byteCount)) ?? false,
});

/** Every peer writes, with enough objects that some lie in each segment, and every peer reads it. */
async function exchange(peers: readonly Peer[], round: string): Promise<void> {
  const sizes = [1, 4_096, 1_000_003, ...sized({ smoke: [], full: [16 << 20, 0x10000] })];
  const objects = peers.flatMap((writer, index) =>
    [...sizes, ...sizes].map((byteCount, number) => ({
      writer,
      key: `${round}/${index}/${number}`,
      seed: number + 1,
      byteCount,
    })),
  );
  for (const { writer, key, seed, byteCount } of objects) {
    expect(await writer.put(key, seed, byteCount), `${writer.name} puts ${key}`).toBe(true);
  }
  for (const reader of peers) {
    for (const { key, seed, byteCount } of objects) {
      expect(await reader.hasRead(key, seed, byteCount), `${reader.name} reads ${key}`).toBe(true);
    }
  }
}

/** Requests between two peers, without a pause, until told to stop. */
function startTraffic(writer: Peer, reader: Peer, prefix: string) {
  const failures: string[] = [];
  let requestCount = 0;
  let isStopping = false;
  const count = async (what: string, act: Promise<boolean>) => {
    requestCount += 1;
    const isDone = await act.catch((error: Error) => error.message);
    if (isDone !== true) failures.push(`${what}: ${isDone}`);
  };
  const running = (async () => {
    for (let number = 0; !isStopping; number += 1) {
      const key = `${prefix}/${number % 200}/${Math.floor(number / 200)}`;
      await count(`${writer.name} puts`, writer.put(key, number + 1, valueByteCount));
      await count(`${reader.name} reads`, reader.hasRead(key, number + 1, valueByteCount));
      await pause(5);
    }
  })();
  return async () => {
    isStopping = true;
    await running;
    return { requestCount, failures };
  };
}

async function startOwnMetadata(processes: Processes): Promise<Metadata> {
  const port = await freePort();
  const start = async () => {
    const flags = ['--host', '127.0.0.1', '--port', String(port), '--data-dir', 'metadata'];
    const started = processes.start(['metadata', ...flags]);
    await untilReady(`http://127.0.0.1:${port}/health`, started);
    return started;
  };
  let server = await start();
  return {
    url: `http://127.0.0.1:${port}/metadata`,
    kill: async () => {
      server.child.kill('SIGKILL');
      await server.exited;
    },
    startAgain: async () => {
      server = await start();
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function startDebian(kind: 'etcd' | 'redis'): Promise<Metadata> {
  const server = kind === 'etcd' ? await startEtcd() : await startRedis();
  return {
    url: kind === 'etcd' ? `127.0.0.1:${server.port}` : `redis://127.0.0.1:${server.port}`,
    kill: () => server.kill(),
    startAgain: async () => void (await server.start()),
    [Symbol.asyncDispose]: () => server.dispose(),
  };
}

describe('a metadata server that is killed and started again in the middle of traffic', () => {
  it.each([
    ['etcd', 'real and ours', () => startDebian('etcd')],
    // The published wheels are built without redis.
    ['redis', 'ours', () => startDebian('redis')],
    ['our HTTP server', 'real and ours', startOwnMetadata],
  ] as const)('%s, between clients: %s, costs no request', async (name, clients, start) => {
    await using processes = new Processes();
    await using metadata = await start(processes);
    const master = await startOwnMaster(processes);
    const ports = await freePorts(4);
    await using own = await startOwn(master, metadata.url, ports);
    const joinOther = async (port: number): Promise<Peer & Partial<AsyncDisposable>> => {
      if (clients !== 'ours') {
        return pythonPeer(await startPython(processes, master, metadata.url, port));
      }
      const other = await startOwn(master, metadata.url, port);
      return Object.assign(ownPeer(other), {
        [Symbol.asyncDispose]: () => other[Symbol.asyncDispose](),
      });
    };
    const [first, second] = [ownPeer(own), await joinOther(ports + 1)];
    await exchange([first, second], 'before');

    const traffics = [startTraffic(first, second, 'ours'), startTraffic(second, first, 'theirs')];
    await pause(300);
    await metadata.kill();
    await pause(restartedMs);
    // One that joins while nobody can be looked up waits, and works as soon as it can.
    const joining = startOwn(master, metadata.url, ports + 2);
    await pause(200);
    await metadata.startAgain();
    await using joined = await joining;
    const third = await joinOther(ports + 3);
    await exchange([first, second, ownPeer(joined), third], 'after');
    const results = await Promise.all(traffics.map((stop) => stop()));
    for (const { requestCount, failures } of results) {
      console.log(`${name}: ${requestCount} requests, ${failures.length} failed`);
      expect(failures).toEqual([]);
      expect(requestCount).toBeGreaterThan(20);
    }
    await second[Symbol.asyncDispose]?.();
    await third[Symbol.asyncDispose]?.();
  });
});

describe('real and own clients exchange objects', () => {
  it("through the wheel's mooncake_http_metadata_server", async () => {
    await using processes = new Processes();
    const port = await freePort();
    const program = installWheel().program('mooncake_http_metadata_server');
    processes.startCommand('metadata', [program, '--host', '127.0.0.1', '--port', String(port)]);
    await eventually(
      async () => (await fetch(`http://127.0.0.1:${port}/metadata?key=x`)).status === 404,
      'the metadata server of the wheel',
      30_000,
    );
    await exchangeThrough(
      processes,
      await startOwnMaster(processes),
      `http://127.0.0.1:${port}/metadata`,
    );
  });

  it.each([
    ['the real master', startRealMaster],
    ['our master', startOwnMaster],
  ])('through the metadata server inside %s', async (_, start) => {
    await using processes = new Processes();
    const master = await start(processes);
    await exchangeThrough(processes, master, master.metadata);
  });

  it('through etcd, under a real master, in every form of its address', async () => {
    await using processes = new Processes();
    await using etcd = await startDebian('etcd');
    const master = await startRealMaster(processes);
    const address = etcd.url;
    const forms = [`etcd://${address}`, `etcd://${address},127.0.0.1:1`, `127.0.0.1:1;${address}`];
    for (const form of sized({ smoke: forms.slice(1, 2), full: forms })) {
      await exchangeThrough(processes, master, form);
    }
  });
});

describe('the metadata of a real client that was killed', () => {
  it.each([
    ['inside our master', null],
    ['etcd', () => startDebian('etcd')],
    ['our HTTP server', startOwnMetadata],
  ] as const)('is removed by our master from %s, and its name is free again', async (_, start) => {
    await using processes = new Processes();
    await using outside = start === null ? null : await start(processes);
    const flags = ['--client_ttl=2'];
    if (outside !== null) flags.push('--metadata-server', outside.url);
    const master = await startOwnMaster(processes, { flags });
    const url = outside?.url ?? master.metadata;
    const port = await freePorts(1);
    const python = await startPython(processes, master, url, port);
    const ports = { clock: new SystemClock(), logger: silentLogger };
    const store = await openMetadataStore(parseMetadataAddress(url, {}), ports);
    const keys = [segmentKey(`127.0.0.1:${port}`), rpcMetaKey(`127.0.0.1:${port}`)];
    for (const key of keys) expect(await store.get(key), key).not.toBeNull();
    await python.kill();
    await eventually(
      async () => (await Promise.all(keys.map((key) => store.get(key)))).every((v) => v === null),
      'the keys to be removed',
      20_000,
    );
    const again = await startPython(processes, master, url, port);
    for (const key of keys) expect(await store.get(key), key).not.toBeNull();
    await again.store('close');
    await store.close();
  });
});

async function exchangeThrough(processes: Processes, master: Master, metadata: string) {
  const ports = await freePorts(2);
  const python = await startPython(processes, master, metadata, ports);
  await using own = await startOwn(master, metadata, ports + 1);
  await exchange([pythonPeer(python), ownPeer(own)], metadata);
  await python.store('close');
}
