import { Cancelling, deadline, silentLogger } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { RpcServer } from '../src/index.ts';
import { dial, opened, protocol, scripted, serve, settledByHand } from './harness.ts';

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

  it('leaves the end of a call to its signal where that is asked for', async () => {
    const clock = new FakeClock();
    const late = settledByHand<{ ok: boolean }>();
    const { port } = await serve({ ExistKey: () => late.promise });
    const client = dial(port, { clock });
    await client.call('ServiceReady', []);
    const signal = new Cancelling();
    const outcome = client
      .call('ExistKey', ['a', 'default'], { signal, timeoutMs: null })
      .catch((error: unknown) => error);
    expect(clock.waitingCount).toBe(0);
    signal.abort(new Error('the time is up'));
    expect(await outcome).toEqual(new Error('the time is up'));
    late.resolve({ ok: true });
    expect(await client.call('ServiceReady', [])).toEqual({ ok: '2.0.0' });
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

  it('leaves a server that is silent also when its callers bring the deadline', async () => {
    const clock = new FakeClock();
    let connectionCount = 0;
    const port = await scripted((socket) => {
      connectionCount += 1;
      socket.resume();
    });
    const client = dial(port, { clock, silenceMaxMs: 15_000 });
    for (const expectedCount of [1, 1, 1, 2]) {
      using limit = deadline(clock, 5_000, 'the operation');
      const outcome = client
        .call('ServiceReady', [], { signal: limit.signal, timeoutMs: 60_000 })
        .catch((error: unknown) => error);
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
