import { Fault, SystemClock } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { parseRequest } from '../src/data-protocol.ts';
import { allocateMemory } from '../src/memory.ts';
import { TcpTransport } from '../src/tcp-transport.ts';
import { listen, peerOf } from './fixtures.ts';

const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const memory = allocateMemory({ byteCount: 4_096, shared: false, label: 'test segment' });
const limitOf = (signal?: AbortSignal) => ({ signal, endsAtMs: 1e9 });
const never = limitOf();
const okStatus = Buffer.from('000000005654434d', 'hex');

async function startPeer(onConnection: Parameters<typeof listen>[0]) {
  const server = await listen(onConnection);
  cleanups.push(() => server.close());
  return { server, peer: peerOf(memory, { port: server.port }) };
}

function startTransport(clock = new SystemClock() as SystemClock | FakeClock, laneCountMax = 4) {
  const transport = new TcpTransport({ clock, laneCountMax });
  cleanups.push(() => transport.close());
  return transport;
}

describe('TCP initiator', () => {
  it('sends the request of the protocol with clean padding', async () => {
    const requests: string[] = [];
    const { peer } = await startPeer((socket) => {
      socket.on('data', (chunk) => {
        requests.push(chunk.toString('hex'));
        socket.write(
          parseRequest(chunk).kind === 'read'
            ? Buffer.from('000000005654434d48454c4c4f', 'hex')
            : okStatus,
        );
      });
    });
    const transport = startTransport();
    await transport.write(peer, 0x7f0000001000n, Buffer.from('HELLO'), never);
    const into = Buffer.alloc(5);
    await transport.read(peer, 0x7f0000001000n, into, never);
    expect(into.toString()).toBe('HELLO');
    expect(requests).toEqual([
      '050000000000000000100000007f0000810000000000000048454c4c4f',
      '050000000000000000100000007f00008000000000000000',
    ]);
  });

  it('gives up a silent peer when its signal fires, and leaves the buffer alone from then on', async () => {
    const { server, peer } = await startPeer((socket) => {
      socket.once('data', () => socket.write(Buffer.concat([okStatus, Buffer.alloc(50, 1)])));
    });
    const transport = startTransport();
    const controller = new AbortController();
    const into = Buffer.alloc(100);
    const reading = transport.read(peer, memory.baseAddress, into, limitOf(controller.signal));
    await eventually(() => into[49] === 1, 'half the answer');
    controller.abort(new Fault('DEADLINE_PASSED', 'too late'));
    await expect(reading).rejects.toMatchObject({ code: 'DEADLINE_PASSED' });
    into.fill(9);
    const [socket] = server.sockets;
    socket?.write(Buffer.alloc(50, 2));
    await eventually(() => socket?.destroyed, 'the end of the connection');
    expect(into).toEqual(Buffer.alloc(100, 9));
  });

  it('waits no longer for a connection than it may', async () => {
    const clock = new FakeClock();
    const transport = startTransport(clock);
    const { peer } = await startPeer(() => {});
    const reading = transport.read(peer, memory.baseAddress, Buffer.alloc(8), never);
    // No turn of the event loop in between, so the connection cannot be there yet.
    while (clock.waitingCount === 0) await Promise.resolve();
    clock.advance(1_000);
    await expect(reading).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it('tries once more when a kept connection turns out to be closed', async () => {
    let connectionCount = 0;
    const { server, peer } = await startPeer((socket) => {
      connectionCount += 1;
      socket.on('data', () => socket.write(Buffer.concat([okStatus, Buffer.alloc(8, 1)])));
    });
    const transport = startTransport();
    const into = Buffer.alloc(8);
    await transport.read(peer, memory.baseAddress, into, never);
    await transport.read(peer, memory.baseAddress, into, never);
    expect(connectionCount).toBe(1);
    for (const socket of server.sockets) {
      socket.removeAllListeners('data');
      socket.once('data', () => socket.destroy());
    }
    await transport.read(peer, memory.baseAddress, into, never);
    expect(connectionCount).toBe(2);
  });

  it('drops a peer that does not follow the protocol', async () => {
    for (const answer of ['garbage!garbage!', 'short', '']) {
      const { peer } = await startPeer((socket) => {
        socket.once('data', () => socket.end(answer));
      });
      const into = Buffer.alloc(4);
      const reading = startTransport().read(peer, memory.baseAddress, into, never);
      await expect(reading).rejects.toMatchObject({
        code: answer.startsWith('garbage') ? 'MALFORMED' : 'PEER_UNREACHABLE',
      });
    }
  });

  it('uses no connection on which more came than was asked for', async () => {
    const { server, peer } = await startPeer((socket) => {
      socket.once('data', () => socket.write(Buffer.concat([okStatus, Buffer.alloc(5)])));
    });
    await startTransport().read(peer, memory.baseAddress, Buffer.alloc(4), never);
    await eventually(() => [...server.sockets][0]?.destroyed, 'the end of the connection');
  });

  it('hears a rejection while it still sends', async () => {
    const { peer } = await startPeer((socket) => {
      socket.once('data', () => socket.write(Buffer.from('010000005654434d', 'hex')));
      socket.pause();
      socket.once('readable', () => socket.read(24));
    });
    const writing = startTransport().write(peer, 1n, Buffer.alloc(64 * 2 ** 20), never);
    await expect(writing).rejects.toMatchObject({ code: 'REFUSED', details: { code: 1 } });
  });

  it('uses a few connections for many transfers, and none when its signal fires in the queue', async () => {
    let connectionCount = 0;
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { peer } = await startPeer((socket) => {
      connectionCount += 1;
      socket.on(
        'data',
        () => void gate.then(() => socket.write(Buffer.concat([okStatus, Buffer.alloc(8)]))),
      );
    });
    const transport = startTransport(new SystemClock(), 2);
    const controller = new AbortController();
    const read = (signal?: AbortSignal) =>
      transport.read(peer, memory.baseAddress, Buffer.alloc(8), limitOf(signal));
    const readings = Array.from({ length: 6 }, () => read());
    const late = read(controller.signal);
    controller.abort(new Fault('DEADLINE_PASSED', 'too late'));
    await expect(late).rejects.toMatchObject({ code: 'DEADLINE_PASSED' });
    release();
    await Promise.all(readings);
    expect(connectionCount).toBe(2);
  });

  it('closes connections that nobody uses', async () => {
    const clock = new FakeClock();
    const { server, peer } = await startPeer((socket) => {
      socket.on('data', () => socket.write(Buffer.concat([okStatus, Buffer.alloc(8)])));
    });
    await startTransport(clock).read(peer, memory.baseAddress, Buffer.alloc(8), never);
    clock.advance(60_000);
    await eventually(() => [...server.sockets][0]?.destroyed, 'the end of the connection');
    expect(clock.waitingCount).toBe(0);
  });
});

describe('TCP initiator towards targets of version 1', () => {
  it('sends each request over a connection of its own, since those of old releases take only one', async () => {
    const connections: number[] = [];
    const { server } = await startPeer((socket) => {
      const index = connections.push(0) - 1;
      socket.on('data', (chunk) => {
        connections[index] = (connections[index] ?? 0) + 1;
        if (parseRequest(chunk).kind === 'read') socket.write(Buffer.alloc(8, 1));
      });
    });
    const peer = peerOf(memory, { port: server.port, version: 1 });
    const transport = startTransport(new SystemClock(), 1);
    for (let round = 0; round < 3; round += 1) {
      await transport.read(peer, memory.baseAddress, Buffer.alloc(8), never);
      await transport.write(peer, memory.baseAddress, Buffer.alloc(8), never);
    }
    expect(connections).toEqual([1, 1, 1, 1, 1, 1]);
  });
});
