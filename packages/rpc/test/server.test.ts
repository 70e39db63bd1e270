import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { closed, dial, rawSocket, serve, settledByHand } from './harness.ts';

describe('RpcServer', () => {
  it('sends no answer before its gate lets it, and all of them in order then', async () => {
    const held: (() => void)[] = [];
    let isShut = true;
    const gate = {
      holdBack: (release: () => void) => {
        if (isShut) held.push(release);
        return isShut;
      },
    };
    const { port, server } = await serve({}, {}, undefined, { gate });
    const client = dial(port);
    const answers: unknown[] = [];
    const ask = (key: string) =>
      client.call('ExistKey', [key, '']).then((answer) => answers.push(answer));
    const first = ask('there');
    await eventually(() => held.length === 1, 'the answer to be held back');
    const second = ask('nowhere');
    await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toEqual([]);
    isShut = false;
    held[0]?.();
    await Promise.all([first, second]);
    expect(answers).toEqual([{ ok: true }, { ok: false }]);
    // What is held back when the server stops still leaves once it may.
    isShut = true;
    const last = ask('there');
    await eventually(() => held.length === 2, 'the last answer to be held back');
    const stopped = server.stop(new AbortController().signal);
    held[1]?.();
    await last;
    await stopped;
    expect(answers).toHaveLength(3);
  });

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
    // The kernel may tell a client that it is connected before it can queue it for us.
    await eventually(() => server.connectionCount === 1_001, 'all clients to be taken in');
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
