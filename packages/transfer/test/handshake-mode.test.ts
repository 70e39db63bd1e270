import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { formatSegmentDescriptor, rpcMetaKey } from '@tsukimi/metadata';
import { MemoryMetadataStore } from '@tsukimi/metadata/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { formatHandshake, handshakeTypes, parseHandshake } from '../src/handshake-protocol.ts';
import { allocateMemory, TransferEngine } from '../src/index.ts';
import { pattern } from '../src/testing.ts';
import { listen, peerOf } from './fixtures.ts';

const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: Partial<ConstructorParameters<typeof TransferEngine>[0]> = {}) {
  const engine = new TransferEngine({
    name: 'ignored:5',
    metadata: null,
    host: '127.0.0.1',
    clock: new SystemClock(),
    random: new SeededRandom(1),
    logger: silentLogger,
    sharedMemory: false,
    ...options,
  });
  await engine.start();
  cleanups.push(() => engine.stop(AbortSignal.abort()));
  return engine;
}

function offer(engine: TransferEngine) {
  const memory = allocateMemory({ byteCount: 2 ** 20, shared: false, label: 'test segment' });
  engine.register(memory);
  return memory;
}

describe('transfer engines without a metadata server', () => {
  it('are called by their handshake port and move bytes both ways', async () => {
    const [left, right] = [await start(), await start()];
    expect(left.name).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(left.name).not.toBe(right.name);
    const bytes = pattern(100_000, 7);
    for (const [from, to] of [
      [left, right],
      [right, left],
    ] as const) {
      const memory = offer(to);
      await from.write(to.name, memory.baseAddress, bytes);
      const into = Buffer.alloc(bytes.length);
      await from.read(to.name, memory.baseAddress, into);
      expect(into.equals(bytes)).toBe(true);
    }
    const late = offer(right);
    late.view.write('late');
    const into = Buffer.alloc(4);
    await left.read(right.name, late.baseAddress, into);
    expect(into.toString()).toBe('late');
    await right.read(right.name, late.baseAddress, into);
    await left.published(AbortSignal.abort());
  });

  it('send each other notifications, until there is no room, and probes', async () => {
    const [left, right] = [await start(), await start()];
    await left.notify(right.name, { name: 'left', message: 'one' });
    await left.notify(right.name, { name: 'left', message: 'two' });
    expect(right.takeNotifications()).toEqual([
      { name: 'left', message: 'one' },
      { name: 'left', message: 'two' },
    ]);
    expect(right.takeNotifications()).toEqual([]);
    const message = 'x'.repeat(70_000);
    await expect(left.notify(right.name, { name: 'left', message })).rejects.toMatchObject({
      code: 'REFUSED',
    });
    await left.probe(right.name);
    await right.stop(AbortSignal.abort());
    await expect(left.probe(right.name)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it('reach each other with a metadata server too, by the address it has', async () => {
    const metadata = new MemoryMetadataStore();
    const left = await start({ name: 'left:1', metadata });
    const right = await start({ name: 'right:1', metadata });
    await left.notify('right:1', { name: 'left:1', message: 'hello' });
    expect(right.takeNotifications()).toHaveLength(1);
    await right.probe('left:1');
    await expect(right.probe('nobody:1')).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it('do not mistake others for peers', async () => {
    const engine = await start();
    const metadata = new MemoryMetadataStore();
    await start({ name: 'h:1', metadata });
    const { rpc_port: port } = (await metadata.get(rpcMetaKey('h:1'))) as { rpc_port: number };
    const memory = offer(engine);
    const strangeAnswers = [
      Buffer.alloc(100, 0xff),
      formatHandshake({ type: handshakeTypes.probe, value: {} }),
      formatHandshake({ type: handshakeTypes.metadata, value: { name: 5 } }),
    ];
    for (const answer of strangeAnswers) {
      const stranger = await listen((socket) => socket.write(answer));
      cleanups.push(() => stranger.close());
      const name = `127.0.0.1:${stranger.port}`;
      const reading = engine.read(name, memory.baseAddress, Buffer.alloc(1));
      await expect(reading).rejects.toMatchObject({ code: 'MALFORMED' });
    }
    const reading = engine.read(`127.0.0.1:${port}`, memory.baseAddress, Buffer.alloc(1));
    await expect(reading).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it('introduce themselves when they ask', async () => {
    const engine = await start();
    const memory = offer(engine);
    const peer = peerOf(memory);
    let request: unknown;
    const other = await listen((socket) => {
      socket.on('data', (bytes) => {
        request = parseHandshake(bytes);
        const value = formatSegmentDescriptor(peer.descriptor);
        socket.end(formatHandshake({ type: handshakeTypes.metadata, value }));
      });
    });
    cleanups.push(() => other.close());
    const reading = engine.read(`127.0.0.1:${other.port}`, 1n, Buffer.alloc(1));
    await expect(reading).rejects.toMatchObject({ code: 'REFUSED' });
    expect(request).toMatchObject({
      type: handshakeTypes.metadata,
      value: { name: engine.name, tcp_data_port: engine.dataPort, tcp_data_host: '127.0.0.1' },
    });
  });
});
