import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ScriptedInstance, type ScriptedInstanceOptions, scriptedText } from '../src/testing.ts';
import { type Cluster, readStream, startCluster } from './cluster.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 2 };
const env = { ADMIN_API_KEY: 'secret' };

async function call(cluster: Cluster, path: string, body: unknown): Promise<[number, unknown]> {
  const response = await fetch(`${cluster.url}/instances/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': 'secret' },
    body: JSON.stringify(body),
  });
  return [response.status, await response.json()];
}

async function another(options: ScriptedInstanceOptions = {}): Promise<ScriptedInstance> {
  const instance = await new ScriptedInstance(options).start();
  onTestFinished(() => instance.kill());
  return instance;
}

const stateOf = (cluster: Cluster, address: string) =>
  cluster.proxy.pool.instances.find((one) => one.address === address);

describe('lists of instances', () => {
  it('adds an array and a range, and waits for those that are not up yet', async () => {
    await using cluster = await startCluster({ env, prefill: [], decode: [] });
    const [one, late] = [await another(), await another()];
    await late.kill();
    const [status, answer] = await call(cluster, 'add', {
      type: 'decode',
      instances: [one.address, `127.0.0.1@${late.port}`],
    });
    expect([status, answer]).toEqual([
      200,
      {
        message: `Instances ${late.address} are waiting to be added.`,
        current_prefill_instances: [],
        current_decode_instances: [one.address, late.address],
      },
    ]);
    expect(stateOf(cluster, one.address)?.state.name).toBe('up');
    await late.start();
    await eventually(() => stateOf(cluster, late.address)?.state.name === 'up', 'the late one');
    expect(await call(cluster, 'add', { type: 'decode', instances: one.address })).toMatchObject([
      200,
      { message: `Added ${one.address} to decode_instances.` },
    ]);
  });

  it.each([
    ['remove', {}, 400, 'Invalid instance format.'],
    ['drain', { instances: [] }, 400, 'Invalid instance format.'],
    ['drain', { instances: ['h:1', 7] }, 400, 'Invalid instance format.'],
    ['remove', { type: 'both', instance: 'h:1' }, 400, 'Invalid instance type.'],
    ['role', { instance: 'h:1' }, 400, 'Invalid instance type.'],
    ['role', { type: 'decode', instance: 'h:1' }, 404, 'Instance not found: h:1.'],
    ['drain', { instance: 'h:1', deadline_seconds: -1 }, 400, expect.stringContaining('deadline')],
    [
      'add',
      { type: 'decode', instance: 'h:1', ttl_seconds: 0 },
      400,
      expect.stringContaining('ttl_seconds'),
    ],
    ['add', { type: 'decode', instance: 'h@9-1' }, 400, 'Invalid instance address.'],
  ])('/instances/%s refuses %j', async (path, body, status, detail) => {
    await using cluster = await startCluster({ env });
    expect(await call(cluster, path, body)).toEqual([status, { detail }]);
  });

  it('asks each call for the key', async () => {
    await using cluster = await startCluster({ env });
    for (const path of ['add', 'remove', 'drain', 'role']) {
      const response = await fetch(`${cluster.url}/instances/${path}`, {
        method: 'POST',
        headers: { 'x-api-key': 'wrong' },
      });
      expect(response.status).toBe(403);
    }
  });
});

describe('POST /instances/remove', () => {
  it('moves a stream that runs there, and is not impressed by repetition', async () => {
    await using cluster = await startCluster({ env, decode: [{}, {}] });
    const [busy] = cluster.decode;
    if (busy === undefined) throw new Error('no instance');
    busy.fate = () => ({ kind: 'break', frameCount: 2, how: 'stall' });
    const streamed = cluster.post({ ...asked, max_tokens: 6, stream: true });
    await eventually(() => busy.requests.length === 1, 'the stream to begin');
    const body = { instance: busy.address };
    expect(await call(cluster, 'remove', body)).toMatchObject([
      200,
      { message: `Removed ${busy.address} from decode_instances.` },
    ]);
    const seen = await readStream(await streamed);
    expect([seen.text, seen.done]).toEqual([scriptedText('"Hi"', 6), true]);
    expect(busy.requests[0]?.aborted).toBe(true);
    expect(await call(cluster, 'remove', body)).toMatchObject([
      200,
      { message: `${busy.address} is not among the instances.` },
    ]);
    expect(stateOf(cluster, busy.address)).toBeUndefined();
  });
});

describe('POST /instances/drain', () => {
  it('lets what runs finish, then removes', async () => {
    await using cluster = await startCluster({ env, decode: [{}, {}] });
    const [busy, idle] = cluster.decode;
    if (busy === undefined || idle === undefined) throw new Error('no instance');
    const held = new AbortController();
    busy.hold = new Promise((resolve) => held.signal.addEventListener('abort', () => resolve()));
    const streamed = cluster.post({ ...asked, max_tokens: 6, stream: true });
    await eventually(() => busy.requests.length === 1, 'the stream to begin');
    const body = { type: 'decode', instance: busy.address };
    expect((await call(cluster, 'drain', body))[0]).toBe(200);
    expect((await call(cluster, 'drain', body))[0]).toBe(200);
    expect(stateOf(cluster, busy.address)?.draining).toBe(true);
    for (let count = 0; count < 3; count += 1) await (await cluster.post(asked)).text();
    expect([busy.requests.length, idle.requests.length]).toEqual([1, 3]);
    held.abort();
    expect((await readStream(await streamed)).done).toBe(true);
    expect(idle.requests.length).toBe(3);
    await eventually(() => stateOf(cluster, busy.address) === undefined, 'it to leave');
  });

  it('moves what still runs when the deadline has passed', async () => {
    await using cluster = await startCluster({ env, decode: [{}, {}] });
    const [busy] = cluster.decode;
    if (busy === undefined) throw new Error('no instance');
    busy.fate = () => ({ kind: 'hang' });
    const answered = cluster.post(asked);
    await eventually(() => busy.requests.length === 1, 'the request to arrive');
    await call(cluster, 'drain', { instance: busy.address, deadline_seconds: 0.05 });
    expect((await answered).status).toBe(200);
    expect(stateOf(cluster, busy.address)).toBeUndefined();
  });
});

describe('POST /instances/role', () => {
  it('moves an instance that can do both, and no other', async () => {
    await using cluster = await startCluster({
      env,
      decode: [{}, { kvRole: 'kv_both' }, { kvRole: 'kv_consumer' }],
    });
    const [, both, consumer] = cluster.decode;
    if (both === undefined || consumer === undefined) throw new Error('no instance');
    for (let count = 0; count < 2; count += 1) {
      expect(
        await call(cluster, 'role', { type: 'prefill', instance: both.address }),
      ).toMatchObject([200, { message: `Moved ${both.address} to prefill_instances.` }]);
    }
    expect(stateOf(cluster, both.address)?.kind).toBe('prefill');
    expect(await call(cluster, 'role', { type: 'prefill', instance: consumer.address })).toEqual([
      400,
      {
        detail: 'Instance cannot change its role.',
        reason: `${consumer.address} has kv_role kv_consumer; start it as kv_both`,
      },
    ]);
    for (let count = 0; count < 4; count += 1) await (await cluster.post(asked)).text();
    expect(both.requests.map(({ body }) => body['max_tokens'])).toEqual([1, 1]);
  });
});

describe('POST /instances/role with a list', () => {
  it.each([
    ['is absent', () => '127.0.0.1:1', 404],
    ['cannot do it', (cluster: Cluster) => cluster.decode[1]?.address, 400],
  ] as const)('moves none when one of them %s', async (_, wrong, status) => {
    await using cluster = await startCluster({
      env,
      decode: [{ kvRole: 'kv_both' }, { kvRole: 'kv_consumer' }],
    });
    const address = cluster.decode[0]?.address ?? '';
    const instances = [address, wrong(cluster)];
    expect((await call(cluster, 'role', { type: 'prefill', instances }))[0]).toBe(status);
    expect(stateOf(cluster, address)?.kind).toBe('decode');
  });
});

describe('an instance that registers itself', () => {
  it('is told that it is new, and where it is', async () => {
    await using cluster = await startCluster({ env, prefill: [], decode: [] });
    const instance = await another({ engineId: 'first' });
    const beat = () =>
      call(cluster, 'add', { type: 'decode', instance: instance.address, ttl_seconds: 60 });
    expect(await beat()).toEqual([
      200,
      { message: `Added ${instance.address} to decode_instances.`, type: 'decode' },
    ]);
    expect(await beat()).toEqual([
      200,
      { message: `Renewed ${instance.address} in decode_instances.`, type: 'decode' },
    ]);
    await call(cluster, 'remove', { instance: instance.address });
    expect(await beat()).toEqual([
      409,
      { detail: 'Instance was removed.', reason: 'an operator has removed this instance' },
    ]);
    instance.engineId = 'second';
    expect((await beat())[0]).toBe(200);
    const status = (await (await fetch(`${cluster.url}/status`)).json()) as object;
    expect(status).toMatchObject({ instances: [{ source: 'registration', draining: false }] });
  });
});

describe('an engine that came back as another one', () => {
  it('is noticed by the next probe', async () => {
    await using cluster = await startCluster({ decode: [{ engineId: 'first' }] });
    const [instance] = cluster.decode;
    if (instance === undefined) throw new Error('no instance');
    await (await cluster.post(asked)).text();
    await instance.kill();
    instance.engineId = 'second';
    await instance.start();
    await eventually(
      () => stateOf(cluster, instance.address)?.identity?.engineId === 'second',
      'the new engine to be known',
    );
    expect((await cluster.post(asked)).status).toBe(200);
  });
});
