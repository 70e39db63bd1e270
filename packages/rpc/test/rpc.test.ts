import { SystemClock } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { ErrorCode, masterProtocol, type Uuid } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import { RpcClient } from '../src/index.ts';
import { dial, opened, serve, settledByHand, yes } from './harness.ts';

const { ExistKey, Ping, ServiceReady } = masterProtocol;

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

  it('carry bytes behind the arguments, which a server that knows none of them ignores', async () => {
    const heard: [string, number][] = [];
    const onAppendix = (bytes: Buffer, { connectionId }: { connectionId: number }) =>
      heard.push([bytes.toString(), connectionId]);
    const appendix = Buffer.from('by the way');
    for (const told of [{}, { onAppendix }]) {
      const client = dial((await serve({}, {}, undefined, told)).port);
      const call = (key: string, options: { appendix?: Buffer }) =>
        client.call('ExistKey', [key, 'default'], options);
      expect(await call('there', { appendix })).toEqual({ ok: true });
      expect(await call('gone', {})).toEqual({ ok: false });
      expect(await client.call('ServiceReady', [], { appendix })).toEqual({ ok: '2.0.0' });
    }
    expect(heard).toEqual([['by the way', 1]]);
  });

  it('know when a peer is gone', async () => {
    const gone: number[] = [];
    const { port } = await serve({}, {}, undefined, {
      onClose: ({ connectionId }) => gone.push(connectionId),
    });
    const [first, second] = [dial(port), dial(port)];
    for (const client of [first, second]) await client.call('ServiceReady', []);
    second.close();
    await eventually(() => gone.length === 1, 'the second peer to be gone');
    expect(gone).toEqual([2]);
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

  it('keeps what must wait apart from what others send meanwhile', async () => {
    const asked: string[] = [];
    const first = settledByHand<{ ok: boolean }>();
    const { port } = await serve(
      {
        ExistKey: ([key]) => {
          asked.push(key);
          return key === 'slow' ? first.promise : { ok: true };
        },
      },
      { runningCountMax: 1 },
    );
    const [one, other] = [dial(port), dial(port)];
    await other.call('ServiceReady', []);
    const calls = ['slow', 'later'].map((key) => one.call('ExistKey', [key, 'default']));
    await eventually(() => asked.length === 1, 'the first call');
    const long = 'x'.repeat(200);
    await other.call('ExistKey', [long, 'default']);
    first.resolve({ ok: true });
    await Promise.all(calls);
    expect(asked).toEqual(['slow', long, 'later']);
  });
});
