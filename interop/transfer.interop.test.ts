import { SystemClock, SystemRandom, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { HttpMetadataStore, MetadataServer } from '@tsukimi/metadata';
import { allocateMemory, type Memory, TransferEngine } from '@tsukimi/transfer';
import { describe, expect, it } from 'vitest';
import { Processes, type Started, sized } from '../e2e/processes.ts';
import { startOwnMaster, startRealMaster } from './masters.ts';
import { startOwnClient } from './own-client.ts';
import { address, answered, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

const clock = new SystemClock();
const common = { clock, random: new SystemRandom(), logger: silentLogger };
const memoryByteCount = 16 << 20;
const p2p = 'P2PHANDSHAKE';
const modes = ['an HTTP metadata server', p2p] as const;
/** The second is from before version 2 of the data protocol. */
const releases = [
  '0.3.13.post1',
  '0.3.11',
  ...sized({ smoke: [], full: ['0.3.12.post1', '0.3.10.post2', '0.3.9'] }),
];

/** What finds engines, for ours and for others. */
async function startDiscovery(mode: (typeof modes)[number]) {
  if (mode === p2p) return { text: p2p, store: null, [Symbol.asyncDispose]: async () => {} };
  const server = new MetadataServer({ host: '127.0.0.1', port: 0, ...common });
  await server.start();
  const text = `http://127.0.0.1:${server.port}/metadata`;
  const store = new HttpMetadataStore({ url: new URL(text), clock });
  return {
    text,
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      await server.stop(AbortSignal.abort());
    },
  };
}

async function startOwnEngine(store: HttpMetadataStore | null) {
  const engine = new TransferEngine({
    ...common,
    name: '127.0.0.1:17301',
    metadata: store,
    host: '127.0.0.1',
    sharedMemory: false,
    // A busy machine must not make a test fail.
    transferBaseMs: 30_000,
  });
  await engine.start();
  const memory = allocateMemory({ byteCount: memoryByteCount, shared: false, label: 'memory' });
  engine.register(memory);
  await engine.published(AbortSignal.timeout(10_000));
  return {
    engine,
    memory,
    [Symbol.asyncDispose]: () => engine.stop(AbortSignal.timeout(2_000)),
  };
}

/** A real engine with memory: `name` is what peers call it, `base` where its memory is. */
async function startRealEngine(python: PythonClient, metadata: string) {
  const name = '127.0.0.1:17302';
  expect(await python.engine('initialize', name, metadata, 'tcp', '')).toBe(0);
  const buffer = await python.worker<number>('allocate', memoryByteCount);
  expect(await python.engine('register_memory', address(buffer), memoryByteCount)).toBe(0);
  const base = await python.worker<number>('address', buffer);
  const port = await python.engine<number>('get_rpc_port');
  return { buffer, base: BigInt(base), name: metadata === p2p ? `127.0.0.1:${port}` : name };
}

async function moveBothWays(
  python: PythonClient,
  real: Awaited<ReturnType<typeof startRealEngine>>,
  own: { readonly engine: TransferEngine; readonly memory: Memory },
): Promise<void> {
  const { engine, memory } = own;
  const ownBase = Number(memory.baseAddress);
  for (const size of [1, 4_096, 1_000_003, 5 << 20]) {
    const theirs = patternBytes(size, size);
    await python.worker('fill', real.buffer, 0, pattern(size, size));
    // Their write and read of ours.
    const write = [engine.name, address(real.buffer), ownBase, size] as const;
    expect(await python.engine('transfer_sync_write', ...write)).toBe(0);
    await eventually(() => memory.view.subarray(0, size).equals(theirs), `their ${size} bytes`);
    patternBytes(size + 1, size).copy(memory.view, 8 << 20);
    const read = [engine.name, address(real.buffer, 8 << 20), ownBase + (8 << 20), size] as const;
    expect(await python.engine('transfer_sync_read', ...read)).toBe(0);
    expect(await python.worker('peek', real.buffer, 8 << 20, size)).toEqual(
      answered(patternBytes(size + 1, size)),
    );
    // Our read and write of theirs.
    const into = Buffer.alloc(size);
    await engine.read(real.name, real.base, into);
    expect(into.equals(theirs)).toBe(true);
    await engine.write(real.name, real.base + 3n, patternBytes(size + 2, size));
    const ours = answered(patternBytes(size + 2, size));
    await eventually(async () => {
      const peeked = await python.worker('peek', real.buffer, 3, size);
      return JSON.stringify(peeked) === JSON.stringify(ours);
    }, `our ${size} bytes`);
  }
  const requests = Array.from({ length: 64 }, (_, index) => ({
    kind: index % 2 === 0 ? ('read' as const) : ('write' as const),
    endpoint: real.name,
    address: real.base + BigInt(index * 65_536),
    bytes: Buffer.alloc(65_536, index),
  }));
  const batch = engine.submit([
    ...requests,
    { kind: 'read', endpoint: real.name, address: 1n, bytes: Buffer.alloc(8) },
  ]);
  const statuses = await batch.wait(AbortSignal.timeout(60_000));
  expect(statuses.map(({ state }) => state)).toEqual([...requests.map(() => 'done'), 'failed']);
}

describe.each(modes)('real engines and ours, through %s', (mode) => {
  it.each(releases)('%s moves bytes both ways', async (release) => {
    await using processes = new Processes();
    await using discovery = await startDiscovery(mode);
    await using own = await startOwnEngine(discovery.store);
    const python = new PythonClient(processes, installWheel(release));
    const real = await startRealEngine(python, discovery.text);
    await moveBothWays(python, real, own);
  });

  it('moves bytes both ways in version 1 of the protocol, where the original is told to', async () => {
    await using processes = new Processes();
    await using discovery = await startDiscovery(mode);
    await using own = await startOwnEngine(discovery.store);
    const python = new PythonClient(processes, installWheel(), { MC_TCP_PROTO: '1' });
    const real = await startRealEngine(python, discovery.text);
    await moveBothWays(python, real, own);
  });

  it('carries notifications and probes both ways', async () => {
    await using processes = new Processes();
    await using discovery = await startDiscovery(mode);
    await using own = await startOwnEngine(discovery.store);
    const python = new PythonClient(processes, installWheel());
    const real = await startRealEngine(python, discovery.text);
    const { engine, memory } = own;
    await engine.notify(real.name, { name: 'ours', message: 'hello' });
    expect(await python.engine('get_notifies')).toEqual([{ name: 'ours', message: 'hello' }]);
    await engine.probe(real.name);
    expect(await python.engine('send_probe', engine.name)).toBe(0);
    const target = [engine.name, address(real.buffer), Number(memory.baseAddress), 100] as const;
    const notify = { $notify: ['theirs', 'written'] };
    const code = await python.engine('transfer_sync', ...target, { $opcode: 'Write' }, notify);
    expect(code).toBe(0);
    expect(engine.takeNotifications()).toEqual([{ name: 'theirs', message: 'written' }]);
    expect(await python.engine('get_first_buffer_address', engine.name)).toBe(
      Number(memory.baseAddress),
    );
    await python.kill();
    await expect(engine.probe(real.name)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });
});

describe.each([
  ['the real master', startRealMaster],
  ['our master', startOwnMaster],
])('store clients that find each other by handshake, through %s', (_, start) => {
  it.each(['real', 'ours'])('read what the other has put into a segment of %s', async (lender) => {
    await using processes = new Processes();
    const master = await start(processes);
    const python = new PythonClient(processes, installWheel());
    const segmentOf = (kind: string) => (kind === lender ? 64 << 20 : 0);
    const common = { metadata: p2p, master: master.address };
    const theirs = { ...common, name: '127.0.0.1', segmentByteCount: segmentOf('real') };
    expect(await python.setup(theirs)).toBe(0);
    const ours = { ...common, name: '127.0.0.1:17312', segmentByteCount: segmentOf('ours') };
    await using own = await startOwnClient(ours);
    for (const size of [1, 100_003, 5 << 20]) {
      expect(await python.store('put', `python-${size}`, pattern(size, size))).toBe(0);
      expect(await own.store.put(`own-${size}`, patternBytes(size + 1, size))).toBe('stored');
      const read = await own.store.get(`python-${size}`, size);
      expect(read?.equals(patternBytes(size, size))).toBe(true);
      const got = await python.store('get', `own-${size}`);
      expect(got).toEqual(answered(patternBytes(size + 1, size)));
    }
  });
});

const sizes = ['--block_size=65536', '--batch_size=16', '--buffer_size=67108864'];
const seconds = sized({ smoke: 1, full: 5 });

/** The program of the wheel itself: the script that starts it would leave it behind when it is told to end. */
function bench(): string[] {
  const lines = [
    'import os, sys, mooncake',
    "path = os.path.join(list(mooncake.__path__)[0], 'transfer_engine_bench')",
    'os.chmod(path, 0o755)',
    'os.execv(path, [path] + sys.argv[1:])',
  ];
  return [installWheel().python, '-c', lines.join('\n')];
}

/** The name that a target has in P2P mode, from what it prints. */
async function nameOf(target: Started, said: RegExp): Promise<string> {
  const match = await eventually(() => said.exec(target.log()), 'the name of the target', 20_000);
  return `127.0.0.1:${match[1]}`;
}

describe('transfer_engine_bench and tsukimi bench transfer', () => {
  it.each(['read', 'write'])('%s each other, in P2P mode', async (operation) => {
    await using processes = new Processes();
    const here = [`--metadata_server=${p2p}`, '--local_server_name=127.0.0.1', ...sizes];
    const load = [`--operation=${operation}`, `--duration=${seconds}`, '--threads=2'];
    const env = { MC_FORCE_TCP: '1' };
    const own = processes.start(['bench', 'transfer', '--mode=target', ...here]);
    const ownName = await nameOf(own, /target 127\.0\.0\.1:(\d+)/);
    const real = processes.startCommand(
      'real-target',
      [...bench(), '--mode=target', '--protocol=tcp', ...here],
      { env },
    );
    const realName = await nameOf(real, /P2P handshake, listening on 127\.0\.0\.1:(\d+)/);

    const reading = [...bench(), '--mode=initiator', '--protocol=tcp', ...here, ...load];
    const theirs = processes.startCommand('real', [...reading, `--segment_id=${ownName}`], { env });
    expect((await theirs.exited)[0], theirs.log()).toBe(0);
    expect(theirs.log()).toMatch(/batch count [1-9]\d*, throughput/);
    for (const segment of [realName, ownName]) {
      const ours = processes.start([
        ...['bench', 'transfer', ...here, ...load],
        ...[`--segment_id=${segment}`, '--json'],
      ]);
      expect((await ours.exited)[0], ours.log()).toBe(0);
      const figures = JSON.parse(/^\{.*\}$/m.exec(ours.log())?.[0] ?? '{}') as { bytes?: number };
      expect(figures.bytes).toBeGreaterThan(0);
    }
    own.child.kill('SIGTERM');
    expect((await own.exited)[0]).toBe(0);
  });
});
