import { connect, createServer, type Server, type Socket } from 'node:net';
import { SystemClock, silentLogger } from '@tsukimi/base';
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

function dial(port: number, set: { clock?: FakeClock | SystemClock; callCountMax?: number } = {}) {
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

  it('serve others while one handler takes its time', async () => {
    let finish: (value: { ok: boolean }) => void = () => {};
    const slow = new Promise<{ ok: boolean }>((resolve) => {
      finish = resolve;
    });
    const client = dial((await serve({ ExistKey: () => slow })).port);
    const waiting = client.call('ExistKey', ['a', 'default']);
    expect(await client.call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
    finish({ ok: true });
    expect(await waiting).toEqual({ ok: true });
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
    let finish: () => void = () => {};
    const { port, server } = await serve({
      ExistKey: () => new Promise((resolve) => (finish = () => resolve({ ok: true }))),
    });
    const client = dial(port, { clock });
    const outcome = client
      .call('ExistKey', ['a', 'default'], { timeoutMs: 100 })
      .catch((error: unknown) => error);
    await eventually(
      () => finish.length === 0 && server.connectionCount === 1 && client.isConnected,
      'the call to arrive',
    );
    await client.call('ServiceReady', []);
    clock.advance(100);
    expect(await outcome).toMatchObject({ code: 'DEADLINE_PASSED' });
    finish();
    expect(await client.call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
    expect(server.connectionCount).toBe(1);
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
    const { port, clock, server } = await serve({}, { frameWithinMs: 1_000 });
    const idle = await rawSocket(port);
    const half = await rawSocket(port);
    half.write(Buffer.of(21, 0, 0));
    await eventually(() => clock.waitingCount > 0, 'the half frame to arrive');
    clock.advance(1_000);
    await closed(half);
    await eventually(() => server.connectionCount === 1, 'the half one to be gone');
    expect(idle.destroyed).toBe(false);
  });

  it('lives with a thousand idle connections', async () => {
    const { port, server } = await serve();
    await Promise.all(Array.from({ length: 1_000 }, () => rawSocket(port)));
    expect(await dial(port).call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
    expect(server.connectionCount).toBe(1_001);
  });

  it('answers what was asked before it stops', async () => {
    let finish: () => void = () => {};
    const { server, port } = await serve({
      ExistKey: () => new Promise((resolve) => (finish = () => resolve({ ok: true }))),
    });
    const client = dial(port);
    const call = client.call('ExistKey', ['a', 'default']);
    await client.call('ServiceReady', []);
    const stopped = server.stop(new AbortController().signal);
    finish();
    expect(await call).toEqual({ ok: true });
    await stopped;
  });
});
