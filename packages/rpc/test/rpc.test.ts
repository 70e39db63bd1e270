import { connect, createServer, type Server, type Socket } from 'node:net';
import { type Clock, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import { ErrorCode, masterProtocol, type Uuid } from '@tsukimi/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { type Handlers, RpcClient, RpcServer, type RpcServerLimits } from '../src/index.ts';

const { ExistKey, ServiceReady, Ping } = masterProtocol;
const protocol = { ExistKey, ServiceReady, Ping };
type TestProtocol = typeof protocol;

const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function serve(
  set: Partial<Handlers<TestProtocol>> = {},
  limits: Partial<RpcServerLimits> = {},
  clock = new FakeClock(),
) {
  const server = new RpcServer({
    ...{ name: 'test', host: '127.0.0.1', port: 0, protocol, clock, limits, logger: silentLogger },
    handlers: {
      ExistKey: ([key]) => ({ ok: key.startsWith('there') }),
      ServiceReady: () => ({ ok: '2.0.0' }),
      Ping: () => ({ error: ErrorCode.CLIENT_NOT_FOUND }),
      ...set,
    },
  });
  await server.start();
  opened.push(() => server.stop(AbortSignal.abort()));
  return { server, clock, port: server.port };
}

function dial(
  port: number,
  set: { clock?: Clock; callCountMax?: number; silenceMaxMs?: number } = {},
) {
  const client = new RpcClient({
    ...{ address: { host: '127.0.0.1', port }, protocol, clock: new SystemClock() },
    ...set,
  });
  opened.push(() => client.close());
  return client;
}

/** A server of our own making, for answers no honest server gives. */
async function scripted(serveSocket: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer(serveSocket);
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
  opened.push(() => server.close());
  return port;
}

async function rawSocket(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  opened.push(() => socket.destroy());
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

const yes = { ok: true };

function settledByHand<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

const closed = (socket: Socket) =>
  new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    socket.resume();
  });

describe('RpcClient and RpcServer', () => {
  it('answer many calls under way at once, each with its own result', async () => {
    const client = dial((await serve()).port);
    const keys = Array.from(
      { length: 500 },
      (_, index) => `${index % 2 ? 'there' : 'gone'}-${index}`,
    );
    const answers = await Promise.all(keys.map((key) => client.call('ExistKey', [key, 'default'])));
    expect(answers).toEqual(keys.map((key) => ({ ok: key.startsWith('there') })));
  });

  it('carry business errors as results, and calls without arguments', async () => {
    const client = dial((await serve()).port);
    expect(await client.call('Ping', ['1-2' as Uuid])).toEqual({
      error: ErrorCode.CLIENT_NOT_FOUND,
    });
    expect(await client.call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
  });

  it('answer in the order of the requests, also where a handler takes its time', async () => {
    const first = settledByHand<{ ok: boolean }>();
    const { port } = await serve({ ExistKey: ([key]) => (key === 'slow' ? first.promise : yes) });
    const client = dial(port);
    const ended: string[] = [];
    const calls = ['slow', 'quick'].map(async (key) => {
      await client.call('ExistKey', [key, 'default']);
      ended.push(key);
    });
    expect(await dial(port).call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
    expect(ended).toEqual([]);
    first.resolve({ ok: true });
    await Promise.all(calls);
    expect(ended).toEqual(['slow', 'quick']);
  });

  it('report a result that does not fit its type as a failure of the handler, and go on', async () => {
    const tooLong = { ok: 'x'.repeat(2 ** 21) };
    let isLate = false;
    const { port } = await serve({
      ServiceReady: () => (isLate ? Promise.resolve(tooLong) : tooLong),
    });
    const client = dial(port);
    for (isLate of [false, true]) {
      await expect(client.call('ServiceReady', [])).rejects.toMatchObject({
        code: 'REFUSED',
        details: { code: 10 },
      });
    }
    expect(await client.call('ExistKey', ['there', 'default'])).toEqual({ ok: true });
  });

  it('report unknown functions, wrong arguments and failing handlers, and go on', async () => {
    const { port } = await serve({
      Ping: () => {
        throw new Error('out of luck');
      },
    });
    const wrongArguments = { ...masterProtocol.Remove, functionId: ExistKey.functionId };
    const client = new RpcClient({
      address: { host: '127.0.0.1', port },
      protocol: { Ping, ServiceReady, Remove: masterProtocol.Remove, wrongArguments },
      clock: new SystemClock(),
    });
    opened.push(() => client.close());
    await expect(client.call('Remove', ['a', true, 'default'])).rejects.toMatchObject({
      code: 'REFUSED',
      details: { code: 11 },
    });
    await expect(client.call('wrongArguments', ['a', true, 'x'])).rejects.toMatchObject({
      details: { code: 4 },
    });
    await expect(client.call('Ping', ['1-2' as Uuid])).rejects.toMatchObject({
      details: { code: 10 },
    });
    expect(await client.call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
  });

  it('keep the limit on requests that have no answer yet, without losing one', async () => {
    const finishes: (() => void)[] = [];
    const { port } = await serve(
      { ExistKey: () => new Promise((resolve) => finishes.push(() => resolve({ ok: true }))) },
      { runningCountMax: 4 },
    );
    const client = dial(port);
    let answered = 0;
    const calls = Array.from({ length: 20 }, async (_, index) => {
      // One turn each, so that they come as chunks of their own.
      await new Promise((resolve) => setImmediate(resolve));
      await client.call('ExistKey', [`${index}`, 'default']);
      answered += 1;
    });
    await eventually(() => {
      finishes.splice(0).forEach((finish) => finish());
      return answered === 20;
    }, 'all answers');
    await Promise.all(calls);
  });
});

describe('RpcClient', () => {
  it('says that nobody listens', async () => {
    const { server, port } = await serve();
    await server.stop(AbortSignal.abort());
    await expect(dial(port).call('ServiceReady', [])).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
    });
  });

  it('gives up at the deadline, drops the late answer, and goes on with the same connection', async () => {
    const clock = new FakeClock();
    const late = settledByHand<{ ok: boolean }>();
    const { port, server } = await serve({ ExistKey: () => late.promise });
    const client = dial(port, { clock });
    await client.call('ServiceReady', []);
    const outcome = client
      .call('ExistKey', ['a', 'default'], { timeoutMs: 100 })
      .catch((error: unknown) => error);
    clock.advance(100);
    expect(await outcome).toMatchObject({ code: 'DEADLINE_PASSED' });
    const next = client.call('ServiceReady', []);
    late.resolve({ ok: true });
    expect(await next).toEqual({ ok: '2.0.0' });
    expect(server.connectionCount).toBe(1);
    expect(clock.waitingCount).toBe(0);
  });

  it('does not wait longer for a connection than its call may take', async () => {
    const clock = new FakeClock();
    const client = dial((await serve()).port, { clock });
    const call = client.call('ServiceReady', [], { timeoutMs: 0 });
    clock.advance(0);
    await expect(call).rejects.toMatchObject({ code: 'DEADLINE_PASSED' });
  });

  it('gives up a connection on which nothing comes back, however many calls are tried', async () => {
    const clock = new FakeClock();
    let connectionCount = 0;
    const port = await scripted((socket) => {
      connectionCount += 1;
      socket.resume();
    });
    const client = dial(port, { clock, silenceMaxMs: 15_000 });
    for (const expectedCount of [1, 1, 1, 2]) {
      const outcome = client.call('ServiceReady', []).catch((error: unknown) => error);
      await eventually(
        () => client.isConnected && connectionCount === expectedCount,
        'the connection',
      );
      // The call itself is made a few promises after the connection stands.
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(5_000);
      expect(await outcome).toMatchObject({ code: 'DEADLINE_PASSED' });
    }
  });

  it('ends a call when its caller does', async () => {
    const { port } = await serve({ ExistKey: () => new Promise(() => {}) });
    const abort = new AbortController();
    const call = dial(port).call('ExistKey', ['a', 'default'], { signal: abort.signal });
    abort.abort(new Error('the client left'));
    await expect(call).rejects.toThrow('the client left');
  });

  it('refuses more calls than may wait', async () => {
    const { port } = await serve({ ExistKey: () => new Promise(() => {}) });
    const client = dial(port, { callCountMax: 2 });
    await client.call('ServiceReady', []);
    const waiting = [0, 1].map(() => client.call('ExistKey', ['a', 'default']).catch(() => {}));
    await new Promise((resolve) => setImmediate(resolve));
    await expect(client.call('ExistKey', ['a', 'default'])).rejects.toMatchObject({
      code: 'OVERLOADED',
    });
    client.close();
    await Promise.all(waiting);
  });

  it('counts calls it gave up as long as their answers are owed', async () => {
    const late = settledByHand<{ ok: boolean }>();
    const { port } = await serve({ ExistKey: () => late.promise });
    const client = dial(port, { callCountMax: 1 });
    await client.call('ServiceReady', []);
    const abort = new AbortController();
    const given = client.call('ExistKey', ['a', 'default'], { signal: abort.signal });
    abort.abort(new Error('the client left'));
    await expect(given).rejects.toThrow('the client left');
    await expect(client.call('ServiceReady', [])).rejects.toMatchObject({ code: 'OVERLOADED' });
    late.resolve({ ok: true });
    await eventually(
      () => client.call('ServiceReady', []).catch(() => null),
      'the late answer to be gone',
    );
  });

  it('ends calls under way, and one that waits for its connection, when it is closed', async () => {
    const { port } = await serve({ ExistKey: () => new Promise(() => {}) });
    const client = dial(port);
    await client.call('ServiceReady', []);
    const underWay = client.call('ExistKey', ['a', 'default']);
    const fresh = dial(port);
    const connecting = fresh.call('ServiceReady', []);
    client.close();
    fresh.close();
    for (const call of [underWay, connecting, client.call('ServiceReady', [])]) {
      await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    }
  });

  it('repeats a call once when the server had closed the idle connection', async () => {
    const { server, port } = await serve();
    const client = dial(port);
    await client.call('ServiceReady', []);
    await server.stop(AbortSignal.abort());
    const again = new RpcServer({
      ...{
        name: 'again',
        host: '127.0.0.1',
        port,
        protocol,
        clock: new FakeClock(),
        logger: silentLogger,
      },
      handlers: {
        ExistKey: () => ({ ok: true }),
        ServiceReady: () => ({ ok: 'again' }),
        Ping: () => ({ error: -1 }),
      },
    });
    await again.start();
    opened.push(() => again.stop(AbortSignal.abort()));
    expect(await client.call('ServiceReady', [])).toEqual({ ok: 'again' });
  });

  it.each([
    ['twice at most', '', [2, 1]],
    ['once where something came back', '1500', [2]],
  ])('sends a call on a connection that ends under it %s', async (_times, lastHex, sent) => {
    const requestCounts: number[] = [];
    const answer = Buffer.from('15000000000000000b0000000000000034ccb31c0105322e302e30', 'hex');
    const port = await scripted((socket) => {
      const connection = requestCounts.push(0) - 1;
      socket.on('data', (chunk) => {
        requestCounts[connection] = (requestCounts[connection] ?? 0) + chunk.length / 20;
        const isFirst = connection === 0 && requestCounts[connection] === 1;
        if (isFirst) socket.write(answer);
        else socket.end(Buffer.from(lastHex, 'hex'));
      });
    });
    const client = dial(port);
    expect(await client.call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
    await expect(client.call('ServiceReady', [])).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
    });
    expect(requestCounts).toEqual(sent);
  });

  it('closes on an answer to a call it never made', async () => {
    const answer = Buffer.from('15000000630000000b0000000000000034ccb31c0105322e302e30', 'hex');
    const port = await scripted((socket) => socket.on('data', () => socket.write(answer)));
    const client = dial(port);
    await expect(client.call('ServiceReady', [])).rejects.toMatchObject({ code: 'MALFORMED' });
    expect(client.isConnected).toBe(false);
  });

  it('fails clearly on a server that speaks something else, or closes at once', async () => {
    const http = await scripted((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await expect(dial(http).call('ServiceReady', [])).rejects.toMatchObject({ code: 'MALFORMED' });
    const mute = await scripted((socket) => socket.destroy());
    await expect(dial(mute).call('ServiceReady', [])).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
    });
  });
});

describe('RpcServer', () => {
  it('closes on another protocol and on a frame over the limit, and serves the next client', async () => {
    const { port } = await serve({}, { frameByteCountMax: 1_000 });
    const oversized = Buffer.alloc(20);
    oversized[0] = 21;
    oversized.writeUInt32LE(2 ** 31, 12);
    for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), oversized, Buffer.of(21, 9)]) {
      const socket = await rawSocket(port);
      socket.write(bytes);
      await closed(socket);
    }
    expect(await dial(port).call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
  });

  it('closes on half a frame that stays half, and keeps idle connections', async () => {
    const { port, clock, server } = await serve({}, { requestWithinMs: 1_000 });
    const idle = await rawSocket(port);
    const half = await rawSocket(port);
    half.write(Buffer.of(21, 0, 0));
    await eventually(() => clock.waitingCount > 0, 'the half frame to arrive');
    clock.advance(1_000);
    await closed(half);
    await eventually(() => server.connectionCount === 1, 'the half one to be gone');
    expect(idle.destroyed).toBe(false);
  });

  it('stops asking a client that does not read, and goes on where it stopped', async () => {
    let servedCount = 0;
    const ok = 'x'.repeat(2 ** 16);
    const { port, clock } = await serve({
      ServiceReady: () => {
        servedCount += 1;
        return { ok };
      },
    });
    const socket = await rawSocket(port);
    const request = Buffer.from('150000000000000056bb817b0000000000000000', 'hex');
    const askedCount = 5_000;
    socket.write(Buffer.concat(Array.from({ length: askedCount }, () => request)));
    await eventually(() => clock.waitingCount > 0, 'the server to hold back');
    // What the system buffers on both sides is a matter of megabytes, not of the 300 that were asked for.
    expect(servedCount).toBeLessThan(askedCount / 4);
    let byteCount = 0;
    socket.on('data', (chunk) => {
      byteCount += chunk.length;
    });
    const answerByteCount = 16 + 4 + 1 + 1 + 4 + ok.length;
    await eventually(() => byteCount === askedCount * answerByteCount, 'all answers');
    expect(clock.waitingCount).toBe(0);
  });

  it('cuts off a client that has not read its answers in time', async () => {
    const { port, clock, server } = await serve(
      { ServiceReady: () => ({ ok: 'x'.repeat(2 ** 20) }) },
      { unreadWithinMs: 1_000 },
    );
    const socket = await rawSocket(port);
    const request = Buffer.from('150000000000000056bb817b0000000000000000', 'hex');
    socket.write(Buffer.concat(Array.from({ length: 100 }, () => request)));
    await eventually(() => clock.waitingCount > 0, 'the server to hold back');
    clock.advance(1_000);
    await eventually(() => server.connectionCount === 0, 'the client to be cut off');
  });

  it('bounds what the half requests of all clients hold', async () => {
    const { port, server } = await serve({}, { unfinishedByteCountMax: 100_000 });
    const half = Buffer.alloc(60_000);
    half[0] = 21;
    half.writeUInt32LE(2 ** 20, 12);
    const first = await rawSocket(port);
    first.write(half);
    await eventually(() => server.unfinishedByteCount === 60_000, 'the first half');
    const second = await rawSocket(port);
    second.write(half);
    await closed(second);
    expect(first.destroyed).toBe(false);
    first.destroy();
    await eventually(() => server.unfinishedByteCount === 0, 'both to be forgotten');
  });

  it('lives with a thousand idle connections', async () => {
    const { port, server } = await serve();
    await Promise.all(Array.from({ length: 1_000 }, () => rawSocket(port)));
    expect(await dial(port).call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
    expect(server.connectionCount).toBe(1_001);
  });

  it('answers what was asked before it stops', async () => {
    const asked = settledByHand<void>();
    const late = settledByHand<{ ok: boolean }>();
    const { server, port } = await serve({
      ExistKey: () => {
        asked.resolve();
        return late.promise;
      },
    });
    const client = dial(port);
    const call = client.call('ExistKey', ['a', 'default']);
    await asked.promise;
    const stopped = server.stop(new AbortController().signal);
    late.resolve({ ok: true });
    expect(await call).toEqual({ ok: true });
    await stopped;
    expect(server.connectionCount).toBe(0);
  });

  it('stops at its deadline, whatever its handlers are at, and may be stopped again', async () => {
    const asked = settledByHand<void>();
    const { server, port } = await serve({
      ExistKey: () => {
        asked.resolve();
        return new Promise(() => {});
      },
    });
    const call = dial(port).call('ExistKey', ['a', 'default']);
    await asked.promise;
    const abort = new AbortController();
    const stopped = server.stop(abort.signal);
    abort.abort();
    await stopped;
    await expect(call).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    await server.stop(AbortSignal.abort());
    await server.ended();
  });
});
