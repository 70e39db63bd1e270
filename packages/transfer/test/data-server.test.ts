import { connect, type Socket } from 'node:net';
import { SeededRandom, SystemClock } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { formatRequest } from '../src/data-protocol.ts';
import { DataServer } from '../src/data-server.ts';
import { TargetSession } from '../src/target-session.ts';

const baseAddress = 0x7f0000001000n;
const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function resolverOf(memory: Buffer, base = baseAddress) {
  return (address: bigint, byteCount: bigint) => {
    const start = address - base;
    const isInside = byteCount > 0n && start >= 0n && start + byteCount <= BigInt(memory.length);
    return isInside ? memory.subarray(Number(start), Number(start + byteCount)) : null;
  };
}

async function start(
  memory: Buffer,
  options: Partial<ConstructorParameters<typeof DataServer>[0]> = {},
) {
  const server = new DataServer({
    host: '127.0.0.1',
    port: 0,
    clock: new SystemClock(),
    resolve: resolverOf(memory),
    onDeath: () => {},
    ...options,
  });
  await server.start();
  cleanups.push(() => server.stop(AbortSignal.abort()));
  return server;
}

/** A connection that remembers what it received. */
async function dial(port: number) {
  const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true });
  cleanups.push(() => void socket.destroy());
  const chunks: Buffer[] = [];
  let receivedByteCount = 0;
  let isClosed = false;
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    receivedByteCount += chunk.length;
  });
  const received = () => Buffer.concat(chunks);
  const arrived = (byteCount: number) =>
    eventually(() => receivedByteCount >= byteCount, `${byteCount} bytes`);
  socket.on('error', () => {});
  socket.on('end', () => {
    isClosed = true;
  });
  socket.on('close', () => {
    isClosed = true;
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  return {
    socket,
    send: (hex: string) => void socket.write(Buffer.from(hex, 'hex')),
    arrived,
    hex: async (byteCount: number) => {
      await arrived(byteCount);
      return received().toString('hex');
    },
    closed: () => eventually(() => isClosed, 'the end of the connection'),
    received,
    isClosed: () => isClosed,
  };
}

/** Exchanges with the original engine, in order; the padding of its headers is garbage. */
const recorded = {
  base: 140580638162944n,
  exchanges: [
    [
      `64000000000000000000007bdb7f0000812e302e302e313a${'30313233343536373839'.repeat(10)}`,
      '000000005654434d',
    ],
    [
      '64000000000000000000007bdb7f000080786a2000000000',
      `000000005654434d${'30313233343536373839'.repeat(10)}`,
    ],
    ['04000000000000006800007bdb7f000081466c200000000061616161', '000000005654434d'],
    ['06000000000000006c00007bdb7f00008100000000000000626262626262', '000000005654434d'],
    ['04000000000000006800007bdb7f000080576c2000000000', '000000005654434d61616161'],
    ['06000000000000006c00007bdb7f0000805d6c2000000000', '000000005654434d626262626262'],
  ],
} as const;

const writeHello = '050000000000000000100000007f0000810000000000000048454c4c4f';
const readHello = '050000000000000000100000007f00008000000000000000';

describe('data server', () => {
  it('answers the recorded exchanges byte for byte', async () => {
    const memory = Buffer.alloc(4_096);
    const server = await start(memory, { resolve: resolverOf(memory, recorded.base) });
    const peer = await dial(server.port);
    let expected = '';
    for (const [request, answer] of recorded.exchanges) {
      peer.send(request);
      expected += answer;
      expect(await peer.hex(expected.length / 2)).toBe(expected);
    }
  });

  it('answers both versions on one connection', async () => {
    const server = await start(Buffer.alloc(64));
    const peer = await dial(server.port);
    peer.send(writeHello);
    expect(await peer.hex(8)).toBe('000000005654434d');
    peer.send(readHello);
    expect(await peer.hex(21)).toBe('000000005654434d000000005654434d48454c4c4f');
    peer.send('020000000000000000100000007f000001000000000000006869');
    peer.send('050000000000000000100000007f00000000000000000000');
    expect((await peer.hex(26)).slice(42)).toBe('68694c4c4f');
  });

  it('rejects what is not in its memory and closes', async () => {
    const server = await start(Buffer.alloc(64));
    for (const [request, answer] of [
      ['050000000000000000100000000000008000000000000000', '010000005654434d'],
      ['410000000000000000100000007f00008100000000000000', '010000005654434d'],
      ['000000000000000000100000007f00008000000000000000', '010000005654434d'],
      ['ffffffffffffffff00100000007f00008100000000000000', '010000005654434d'],
      ['410000000000000000100000007f00000000000000000000', ''],
      ['410000000000000000100000007f00000100000000000000', ''],
    ] as const) {
      const peer = await dial(server.port);
      peer.send(request);
      await peer.closed();
      expect(peer.received().toString('hex')).toBe(answer);
    }
  });

  it('lets a rejection arrive while the peer still sends a large body', async () => {
    const server = await start(Buffer.alloc(64));
    const peer = await dial(server.port);
    peer.send('000000040000000000100000007f00008100000000000000');
    for (let piece = 0; piece < 32; piece += 1) peer.socket.write(Buffer.alloc(2 ** 20));
    expect(await peer.hex(8)).toBe('010000005654434d');
  });

  it('serves requests that were sent ahead, strictly in turn', async () => {
    const memory = Buffer.alloc(3 * 2 ** 20, 1);
    const before = Buffer.from(memory);
    const server = await start(memory);
    const peer = await dial(server.port);
    const whole = { version: 2, address: baseAddress, byteCount: BigInt(memory.length) } as const;
    peer.socket.write(
      Buffer.concat([
        formatRequest({ kind: 'read', ...whole }),
        formatRequest({ kind: 'write', ...whole }),
        Buffer.alloc(memory.length, 2),
        formatRequest({ kind: 'read', ...whole }),
      ]),
    );
    await peer.arrived(2 * (memory.length + 8) + 8);
    const [first, second] = [8, memory.length + 24];
    expect(
      peer
        .received()
        .subarray(first, first + memory.length)
        .equals(before),
    ).toBe(true);
    expect(peer.received().subarray(second).equals(memory)).toBe(true);
    expect(memory[0]).toBe(2);
  });

  it('closes a connection that stalls within a request, and lets idle ones be', async () => {
    const clock = new FakeClock();
    const server = await start(Buffer.alloc(64), { clock });
    const [idle, halfHeader, halfBody] = [
      await dial(server.port),
      await dial(server.port),
      await dial(server.port),
    ];
    idle.send(writeHello);
    await idle.hex(8);
    halfHeader.send(`${readHello}0500`);
    await halfHeader.hex(13);
    halfBody.send(readHello + writeHello.slice(0, 50));
    await halfBody.hex(13);
    const tick = async () => {
      clock.advance(5_000);
      await new Promise((resolve) => setImmediate(resolve));
    };
    for (let tickCount = 0; tickCount < 8; tickCount += 1) await tick();
    await halfHeader.closed();
    await halfBody.closed();
    expect(idle.isClosed()).toBe(false);
    idle.send(readHello);
    await idle.hex(21);
  });

  it('finishes the answer under way when it stops', async () => {
    const memory = Buffer.alloc(32 * 2 ** 20, 5);
    const server = await start(memory);
    const peer = await dial(server.port);
    peer.socket.pause();
    peer.socket.write(
      formatRequest({
        kind: 'read',
        version: 1,
        address: baseAddress,
        byteCount: BigInt(memory.length),
      }),
    );
    const idle = await dial(server.port);
    idle.send(readHello);
    await idle.hex(13);
    const stopped = server.stop(new AbortController().signal);
    await idle.closed();
    peer.socket.resume();
    await stopped;
    await peer.arrived(memory.length);
  });

  it('survives garbage and takes no more connections than it may', async () => {
    const memory = Buffer.alloc(64);
    const server = await start(memory, { connectionCountMax: 2 });
    const random = new SeededRandom(7);
    for (let round = 0; round < 10; round += 1) {
      const peer = await dial(server.port);
      const garbage = Buffer.from(Array.from({ length: 200 }, () => random.uint32() & 0xff));
      peer.socket.write(garbage);
      await peer.closed();
      peer.socket.destroy();
    }
    const first = await eventually(async () => {
      const peer = await dial(server.port);
      peer.send(readHello);
      await peer.hex(13);
      return peer;
    }, 'a free place');
    const second = await dial(server.port);
    second.send(readHello);
    await second.hex(13);
    await (await dial(server.port)).closed();
    expect([first.isClosed(), second.isClosed()]).toEqual([false, false]);
    expect(memory).toEqual(Buffer.alloc(64));
  });
});

describe('target session', () => {
  it('does the same wherever the bytes are cut', () => {
    const requests = Buffer.concat([
      Buffer.from(writeHello, 'hex'),
      Buffer.from(readHello, 'hex'),
      Buffer.from('020000000000000000100000007f000001000000000000006869', 'hex'),
      Buffer.from('050000000000000000100000007f00000000000000000000', 'hex'),
    ]);
    const cuts = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1 });
    fc.assert(
      fc.property(cuts, (sizes) => {
        const memory = Buffer.alloc(64);
        const session = new TargetSession(resolverOf(memory));
        let answers = '';
        let offset = 0;
        for (let index = 0; offset < requests.length; index += 1) {
          const chunk = requests.subarray(offset, offset + (sizes[index % sizes.length] as number));
          const { consumedByteCount, send, close } = session.step(chunk);
          expect(close).toBe(false);
          answers += Buffer.concat(send).toString('hex');
          offset += consumedByteCount;
        }
        expect(session.isMidRequest).toBe(false);
        expect(answers).toBe('000000005654434d000000005654434d48454c4c4f68694c4c4f');
      }),
    );
  });
});
