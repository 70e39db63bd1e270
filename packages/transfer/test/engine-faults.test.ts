import { connect } from 'node:net';
import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import { segmentKey } from '@tsukimi/metadata';
import { MemoryMetadataStore } from '@tsukimi/metadata/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { formatRequest } from '../src/data-protocol.ts';
import { allocateMemory, type Memory, TransferEngine } from '../src/index.ts';
import { pattern } from '../src/testing.ts';
import { listen } from './fixtures.ts';

const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const byteCount = 32 * 2 ** 20;
type Options = Partial<ConstructorParameters<typeof TransferEngine>[0]>;

async function start(metadata: MemoryMetadataStore, name: string, options: Options = {}) {
  const engine = new TransferEngine({
    ...{ name, metadata, host: '127.0.0.1', sharedMemory: false },
    ...{ clock: new SystemClock(), random: new SeededRandom(1), logger: silentLogger },
    transferBaseMs: 30_000,
    ...options,
  });
  await engine.start();
  cleanups.push(() => engine.stop(AbortSignal.abort()));
  return engine;
}

async function offer(engine: TransferEngine): Promise<Memory> {
  const memory = allocateMemory({ byteCount, shared: false, label: 'test segment' });
  engine.register(memory);
  await engine.published(new AbortController().signal);
  return memory;
}

/** Makes peers connect elsewhere than the engine listens. */
function redirect(metadata: MemoryMetadataStore, name: string, port: number): void {
  const held = metadata.values.get(segmentKey(name)) as string;
  const there = held.replace(/"tcp_data_port":\d+/, `"tcp_data_port":${port}`);
  metadata.values.set(segmentKey(name), there);
}

describe('transfer engines with several network interfaces', () => {
  it('spread a large transfer over all of them', async () => {
    const metadata = new MemoryMetadataStore();
    const owner = await start(metadata, 'owner:1', { dataHosts: ['127.0.0.2', '127.0.0.3'] });
    const memory = await offer(owner);
    const { addresses } = (
      JSON.parse(metadata.values.get(segmentKey('owner:1')) as string) as {
        tsukimi_tcp: { addresses: { host: string; port: number }[] };
      }
    ).tsukimi_tcp;
    expect(addresses.map(({ host }) => host)).toEqual(['127.0.0.2', '127.0.0.3']);
    const user = await start(metadata, 'user:1');
    const bytes = pattern(byteCount, 3);
    await user.write('owner:1', memory.baseAddress, bytes);
    expect(memory.view.equals(bytes)).toBe(true);
    const into = Buffer.alloc(byteCount);
    await user.read('owner:1', memory.baseAddress, into);
    expect(into.equals(bytes)).toBe(true);
  });

  it('do without one that cannot be reached', async () => {
    const metadata = new MemoryMetadataStore();
    const owner = await start(metadata, 'owner:1', { dataHosts: ['127.0.0.2'] });
    const memory = await offer(owner);
    const held = metadata.values.get(segmentKey('owner:1')) as string;
    const broken = held.replace(/"host":"127.0.0.2","port":\d+/, '"host":"127.0.0.2","port":1');
    expect(broken).not.toBe(held);
    metadata.values.set(segmentKey('owner:1'), broken);
    const user = await start(metadata, 'user:1');
    const bytes = pattern(byteCount, 4);
    await user.write('owner:1', memory.baseAddress, bytes);
    expect(memory.view.equals(bytes)).toBe(true);
  });
});

describe('transfer engines whose peers fail', () => {
  it('end with a fault when the peer dies in the middle of many transfers, either way', async () => {
    for (const kind of ['read', 'write'] as const) {
      const metadata = new MemoryMetadataStore();
      const owner = await start(metadata, 'owner:1');
      const memory = await offer(owner);
      const user = await start(metadata, 'user:1');
      await user.read('owner:1', memory.baseAddress, Buffer.alloc(8));
      const request = { kind, endpoint: 'owner:1', address: memory.baseAddress } as const;
      const batch = user.submit(
        Array.from({ length: 20 }, () => ({ ...request, bytes: Buffer.alloc(byteCount) })),
      );
      await eventually(() => batch.pendingCount < 20, 'the first transfer');
      await owner.stop(AbortSignal.abort());
      const statuses = await batch.wait();
      expect(batch.failedCount).toBeGreaterThan(0);
      for (const status of statuses) {
        if (status.state === 'failed') {
          expect(status.reason).toMatchObject({ code: 'PEER_UNREACHABLE' });
        }
      }
      user.checkInvariants();
    }
  });

  it('go on when the memory that they send is unregistered meanwhile', async () => {
    const metadata = new MemoryMetadataStore();
    const owner = await start(metadata, 'owner:1');
    const memory = await offer(owner);
    const user = await start(metadata, 'user:1');
    const into = Buffer.alloc(byteCount);
    const reading = user.read('owner:1', memory.baseAddress, into);
    await eventually(() => into[0] === 0, 'the beginning');
    owner.unregister(memory);
    memory.close();
    await reading.catch((error: unknown) => expect(error).toMatchObject({ code: 'REFUSED' }));
    await owner.published(new AbortController().signal);
    const again = user.read('owner:1', memory.baseAddress, Buffer.alloc(8));
    await expect(again).rejects.toMatchObject({ code: 'REFUSED' });
  });

  it('refuse at once what waits for a peer that hangs, until it answers again', async () => {
    const clock = new FakeClock();
    const metadata = new MemoryMetadataStore();
    const owner = await start(metadata, 'owner:1');
    const memory = await offer(owner);
    const user = await start(metadata, 'user:1', { clock, transferBaseMs: 1_000 });
    const hung = await listen((socket) => socket.resume());
    cleanups.push(() => hung.close());
    const port = owner.dataPort;
    redirect(metadata, 'owner:1', hung.port);
    const read = () => user.read('owner:1', memory.baseAddress, Buffer.alloc(8));
    const first = read();
    await eventually(() => hung.sockets.size > 0, 'the connection');
    clock.advance(1_001);
    await expect(first).rejects.toMatchObject({ code: 'DEADLINE_PASSED' });
    await expect(read()).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    expect(hung.sockets.size).toBe(1);
    redirect(metadata, 'owner:1', port);
    user.invalidate('owner:1');
    clock.advance(500);
    await read();
    await read();
  });

  it('outlive a peer that reads slowly, one that never reads and claims of any size', async () => {
    const metadata = new MemoryMetadataStore();
    const owner = await start(metadata, 'owner:1');
    const memory = await offer(owner);
    const whole = {
      ...({ kind: 'read', version: 2, address: memory.baseAddress } as const),
      byteCount: BigInt(byteCount),
    };
    const dial = (bytes: Buffer) => {
      const socket = connect(owner.dataPort, '127.0.0.1');
      cleanups.push(() => void socket.destroy());
      socket.on('error', () => {});
      socket.write(bytes);
      return socket;
    };
    dial(Buffer.concat(Array.from({ length: 50 }, () => formatRequest(whole)))).pause();
    const huge = { ...whole, kind: 'write', byteCount: 2n ** 62n } as const;
    const refused = dial(formatRequest(huge)).resume();
    await new Promise((resolve) => refused.once('close', resolve));
    const slow = dial(formatRequest(whole)).pause();
    let readByteCount = 0;
    while (readByteCount < 2 ** 20) {
      await new Promise((resolve) => setImmediate(resolve));
      readByteCount += (slow.read() as Buffer | null)?.length ?? 0;
    }
    const user = await start(metadata, 'user:1');
    const bytes = pattern(2 ** 20, 1);
    await user.write('owner:1', memory.baseAddress, bytes);
    expect(memory.view.subarray(0, 2 ** 20).equals(bytes)).toBe(true);
  });
});
