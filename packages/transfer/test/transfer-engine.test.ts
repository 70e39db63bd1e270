import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import {
  HttpMetadataStore,
  type JsonValue,
  MetadataServer,
  parseSegmentDescriptor,
  rpcMetaKey,
  segmentKey,
} from '@tsukimi/metadata';
import { MemoryMetadataStore } from '@tsukimi/metadata/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { allocateMemory, type Memory, TransferEngine } from '../src/index.ts';
import { pattern } from '../src/testing.ts';
import { listen } from './fixtures.ts';

const clock = new SystemClock();
const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type EngineOptions = ConstructorParameters<typeof TransferEngine>[0];

function make(name: string, options: Partial<EngineOptions> = {}): TransferEngine {
  const engine = new TransferEngine({
    name,
    metadata: new MemoryMetadataStore(),
    host: 'localhost',
    clock,
    random: new SeededRandom(1),
    logger: silentLogger,
    sharedMemory: true,
    ...options,
  });
  cleanups.push(() => engine.stop(AbortSignal.abort()));
  return engine;
}

async function start(name: string, options: Partial<EngineOptions> = {}): Promise<TransferEngine> {
  const engine = make(name, options);
  await engine.start();
  return engine;
}

function allocate(shared = true): Memory {
  const memory = allocateMemory({ byteCount: 2 ** 20, shared, label: 'test segment' });
  cleanups.push(() => memory.close());
  return memory;
}

/** Registers fresh memory and waits until peers can find it. */
async function offer(engine: TransferEngine, shared = true): Promise<Memory> {
  const memory = allocate(shared);
  engine.register(memory);
  await engine.published(new AbortController().signal);
  return memory;
}

describe('transfer engine', () => {
  it('publishes itself as Mooncake does, over a real metadata server, and withdraws', async () => {
    const server = new MetadataServer({ host: '127.0.0.1', port: 0, clock, logger: silentLogger });
    await server.start();
    cleanups.push(() => server.stop(AbortSignal.abort()));
    const url = new URL(`http://127.0.0.1:${server.port}/metadata`);
    const metadata = new HttpMetadataStore({ url, clock });
    cleanups.push(() => metadata.close());
    const engine = await start('h:1', { metadata });
    const memory = await offer(engine);
    expect(await metadata.get(rpcMetaKey('h:1'))).toEqual({
      ip_or_host_name: '127.0.0.1',
      rpc_port: expect.any(Number) as number,
    });
    const value = (await metadata.get(segmentKey('h:1'))) as JsonValue;
    expect(value).toMatchObject({
      name: 'h:1',
      protocol: 'tcp',
      tcp_data_host: '127.0.0.1',
      tcp_data_port: engine.dataPort,
      tcp_proto_version: 2,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/) as string,
    });
    const descriptor = parseSegmentDescriptor(value, 'own');
    expect(descriptor.buffers).toEqual([
      { name: 'h:1', address: memory.baseAddress, byteCount: memory.byteCount },
    ]);
    expect(descriptor.sharedMemory?.buffers[0]?.path).toBe(memory.sharedPath);

    engine.unregister(memory);
    await engine.published(new AbortController().signal);
    expect(await metadata.get(segmentKey('h:1'))).toMatchObject({ buffers: [] });
    engine.register(memory);
    await engine.stop(new AbortController().signal);
    await engine.ended();
    expect(await metadata.get(rpcMetaKey('h:1'))).toBeNull();
    expect(await metadata.get(segmentKey('h:1'))).toBeNull();
    expect(existsSync(memory.sharedPath as string)).toBe(false);
  });

  it('moves bytes in the process, through shared memory and over TCP', async () => {
    const metadata = new MemoryMetadataStore();
    const owner = await start('owner:1', { metadata });
    const shared = await offer(owner);
    const hidden = await offer(owner, false);
    const neighbour = await start('neighbour:1', { metadata });
    const stranger = await start('stranger:1', { metadata, sharedMemory: false });
    const bytes = pattern(100_000, 3);
    for (const [engine, memory, isMapped] of [
      [owner, shared, true],
      [owner, hidden, true],
      [neighbour, shared, true],
      [neighbour, hidden, false],
      [stranger, shared, false],
    ] as const) {
      memory.view.fill(0);
      const address = memory.baseAddress + 5n;
      await engine.write('owner:1', address, bytes);
      const into = Buffer.alloc(bytes.length);
      await engine.read('owner:1', address, into);
      expect(into.equals(bytes)).toBe(true);
      const view = await engine.mapped('owner:1', address, bytes.length);
      expect(view !== null).toBe(isMapped);
      memory.view[5] = 0xab;
      if (view !== null) expect(view[0]).toBe(0xab);
      await expect(engine.read('owner:1', memory.baseAddress - 1n, into)).rejects.toMatchObject({
        code: 'REFUSED',
      });
    }
    owner.checkInvariants();
  });

  it('finds memory that a peer registered later, and a peer that came back elsewhere', async () => {
    const metadata = new MemoryMetadataStore();
    const reader = await start('reader:1', { metadata });
    const into = Buffer.alloc(4);
    const first = await start('owner:1', { metadata });
    const early = await offer(first);
    await reader.read('owner:1', early.baseAddress, into);
    const late = await offer(first, false);
    late.view.write('late');
    await reader.read('owner:1', late.baseAddress, into);
    expect(into.toString()).toBe('late');

    await first.stop(AbortSignal.abort());
    await expect(reader.read('owner:1', late.baseAddress, into)).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
    });
    const second = await start('owner:1', { metadata });
    const again = await offer(second);
    again.view.write('back');
    await reader.read('owner:1', again.baseAddress, into);
    expect(into.toString()).toBe('back');
    reader.invalidate('owner:1');
    await reader.read('owner:1', again.baseAddress, into);
    await expect(reader.read('nobody:1', 1n, into)).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
    });
  });

  it('uses the address of rpc_meta for peers of older releases', async () => {
    const metadata = new MemoryMetadataStore();
    const owner = await start('owner:1', { metadata });
    const memory = await offer(owner, false);
    const held = metadata.values.get(segmentKey('owner:1')) as string;
    metadata.values.set(segmentKey('owner:1'), held.replace(/"tcp_data_host":"[^"]*",/, ''));
    const reader = await start('reader:1', { metadata });
    memory.view.write('old');
    const into = Buffer.alloc(3);
    await reader.read('owner:1', memory.baseAddress, into);
    expect(into.toString()).toBe('old');
  });

  it('starts without a metadata server, publishes when it comes, and again when it forgot', async () => {
    const time = new FakeClock();
    const metadata = new MemoryMetadataStore();
    metadata.down = true;
    const engine = await start('h:1', { metadata, clock: time });
    const memory = allocate(false);
    engine.register(memory);
    const into = Buffer.alloc(1);
    await engine.read('h:1', memory.baseAddress, into);
    const advance = async () => {
      time.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    };
    for (let secondCount = 0; secondCount < 20; secondCount += 1) await advance();
    expect(metadata.values.size).toBe(0);
    metadata.down = false;
    for (let secondCount = 0; secondCount < 7; secondCount += 1) await advance();
    expect(metadata.values.size).toBe(2);
    metadata.values.clear();
    for (let secondCount = 0; secondCount < 7; secondCount += 1) await advance();
    expect(metadata.values.size).toBe(2);
    const putCount = metadata.putCount;
    for (let secondCount = 0; secondCount < 60; secondCount += 1) await advance();
    expect(metadata.putCount).toBe(putCount);
  });

  it('refuses a name that a living engine has, and takes over that of a dead one', async () => {
    const metadata = new MemoryMetadataStore();
    const first = await start('h:1', { metadata });
    await expect(start('h:1', { metadata })).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    const held = new Map(metadata.values);
    await first.stop(AbortSignal.abort());
    for (const [key, value] of held) metadata.values.set(key, value);
    await start('h:1', { metadata });
    expect(metadata.values.get(rpcMetaKey('h:1'))).not.toBe(held.get(rpcMetaKey('h:1')));
    metadata.values.set(rpcMetaKey('h:2'), '"nonsense"');
    await start('h:2', { metadata });
    expect(metadata.values.get(rpcMetaKey('h:2'))).toContain('127.0.0.1');
  });

  it('leaves the metadata of a successor alone when it stops', async () => {
    const metadata = new MemoryMetadataStore();
    const engine = await start('h:1', { metadata });
    metadata.values.set(rpcMetaKey('h:1'), '{"ip_or_host_name":"elsewhere","rpc_port":1}');
    await engine.stop(AbortSignal.abort());
    expect(metadata.values.has(rpcMetaKey('h:1'))).toBe(true);
  });

  it('says which port is taken', async () => {
    const { dataPort } = await start('h:1');
    await expect(start('h:2', { dataPort })).rejects.toMatchObject({ code: 'MISCONFIGURED' });
  });

  it('gives up a transfer after its time', async () => {
    const time = new FakeClock();
    const metadata = new MemoryMetadataStore();
    const owner = await start('owner:1', { metadata });
    const memory = await offer(owner, false);
    const reader = await start('reader:1', { metadata, clock: time });
    const silent = await listen((socket) => socket.resume());
    cleanups.push(() => silent.close());
    const held = metadata.values.get(segmentKey('owner:1')) as string;
    metadata.values.set(
      segmentKey('owner:1'),
      held.replace(/"tcp_data_port":\d+/, `"tcp_data_port":${silent.port}`),
    );
    const reading = reader.read('owner:1', memory.baseAddress, Buffer.alloc(8));
    await eventually(() => silent.sockets.size > 0, 'the connection');
    time.advance(1_001);
    await expect(reading).rejects.toMatchObject({ code: 'DEADLINE_PASSED' });
    const cancelled = reader.read('owner:1', memory.baseAddress, Buffer.alloc(8), {
      signal: AbortSignal.abort(new Error('caller')),
    });
    await expect(cancelled).rejects.toThrow('caller');
  });

  it('survives garbage on its ports', async () => {
    const metadata = new MemoryMetadataStore();
    const engine = await start('h:1', { metadata });
    const memory = await offer(engine, false);
    const { rpc_port: rpcPort } = (await metadata.get(rpcMetaKey('h:1'))) as { rpc_port: number };
    for (const port of [engine.dataPort, rpcPort]) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.resume().write(pattern(10_000, 9));
      await new Promise((resolve) => socket.once('close', resolve));
    }
    const reader = await start('reader:1', { metadata });
    await reader.read('h:1', memory.baseAddress, Buffer.alloc(8));
    expect(memory.view.equals(Buffer.alloc(memory.byteCount))).toBe(true);
  });
});
