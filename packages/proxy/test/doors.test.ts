import { connect } from 'node:net';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { startCluster } from './cluster.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 2 };
describe('GET /status', () => {
  it("tells the demo's four fields, and how each instance is", async () => {
    await using cluster = await startCluster({
      prefill: [{ tensorParallelSize: 2 }],
      decode: [{}, { model: 'other' }],
      argv: ['--scheduling', 'least_load', '--decode', '127.0.0.1:1'],
    });
    const [p0] = cluster.prefill.map(({ address }) => address);
    const [d0, d1] = cluster.decode.map(({ address }) => address);
    const status = (await (await fetch(`${cluster.url}/status`)).json()) as object;
    expect(Object.keys(status).slice(0, 4)).toEqual([
      'prefill_node_count',
      'decode_node_count',
      'prefill_nodes',
      'decode_nodes',
    ]);
    expect(status).toMatchObject({
      prefill_node_count: 1,
      decode_node_count: 3,
      prefill_nodes: [p0],
      decode_nodes: [d0, d1, '127.0.0.1:1'],
      scheduling: 'least_load',
      instances: [
        { address: p0, kind: 'prefill', state: 'up', tensor_parallel_size: 2, fingerprint: 'f00d' },
        { address: d0, state: 'up', model: 'tsukimi-demo', active_requests: 0 },
        { address: d1, state: 'mismatch', reason: expect.stringContaining('"other"') as string },
        { state: 'down', reason: expect.stringContaining('ECONNREFUSED') as string },
      ],
      warnings: [
        expect.stringContaining('it gets no requests') as string,
        expect.stringContaining('tensor_parallel_size differs') as string,
      ],
    });
    for (let count = 0; count < 3; count += 1) await (await cluster.post(asked)).text();
    expect(cluster.decode.map(({ requests }) => requests.length)).toEqual([3, 0]);
  });

  it('finds instances that start later, or come back with another model', async () => {
    await using cluster = await startCluster();
    const [instance] = cluster.decode;
    const state = () => cluster.proxy.pool.instances[1]?.state.name;
    await instance?.kill();
    await eventually(() => state() === 'down', 'the dead one to be down');
    if (instance !== undefined) instance.model = 'other';
    await instance?.start();
    await eventually(() => state() === 'mismatch', 'the other model to be seen');
  });
});

describe('the API', () => {
  it('lists the models of its instances', async () => {
    await using cluster = await startCluster();
    const list = await (await fetch(`${cluster.url}/v1/models?x=1`)).json();
    expect(list).toMatchObject({ object: 'list', data: [{ id: 'tsukimi-demo' }] });
  });

  it.each([
    ['unknown path', 'GET', '/nothing', 404],
    ['__proto__ as path', 'GET', '/__proto__', 404],
    ['wrong method', 'GET', '/v1/completions', 405],
    ['inherited method', 'toString', '/status', 400],
  ])('answers an %s in OpenAI form', async (_, method, path, status) => {
    await using cluster = await startCluster();
    const response = await fetch(cluster.url + path, { method });
    expect(response.status).toBe(status);
    if (status !== 400) expect(await response.json()).toMatchObject({ error: { param: null } });
  });

  it('refuses other content types and takes parameters of the right one', async () => {
    await using cluster = await startCluster();
    const as = (type: string) => cluster.post(asked, { headers: { 'content-type': type } });
    expect((await as('application/json; charset=utf-8')).status).toBe(200);
    const refused = await as('text/plain');
    expect([refused.status, await refused.json()]).toEqual([
      415,
      { detail: "Unsupported Media Type: Only 'application/json' is allowed" },
    ]);
  });

  it.each(['{"prompt":', '[]', '', '{"prompt":"\\ud800"} x'])('refuses %j', async (body) => {
    await using cluster = await startCluster();
    const response = await cluster.post(body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
    expect(cluster.sent('prefill')).toEqual([]);
  });

  it('refuses a body beyond the limit, announced or not', async () => {
    await using cluster = await startCluster();
    const announced = await cluster
      .post(`{"prompt":"${'x'.repeat(33 * 2 ** 20)}"}`)
      .catch(() => null);
    expect(announced?.status ?? 413).toBe(413);
    const raw = await spoken(
      cluster.proxy.entrance.port,
      'POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n' +
        'content-length: 99999999999\r\n\r\n{',
    );
    expect(raw).toMatch(/^HTTP\/1.1 413 /);
    expect(raw).toContain('exceeds the 33554432 bytes allowed');
  });

  it.each([
    ['garbage', '\u0000\u0001nonsense\r\n\r\n'],
    [
      'a body of two lengths',
      'POST /status HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['an endless header', `GET /status HTTP/1.1\r\nx: ${'y'.repeat(100_000)}`],
  ])('survives %s', async (_, bytes) => {
    await using cluster = await startCluster();
    const answer = await spoken(cluster.proxy.entrance.port, bytes);
    expect(answer).toMatch(/^(HTTP\/1.1 4\d\d |$)/);
    expect((await cluster.post(asked)).status).toBe(200);
  });
});

/** What the proxy says to `bytes` on a bare connection, until it closes it. */
function spoken(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let heard = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'));
    socket.on('data', (piece: Buffer) => {
      heard += piece.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(heard));
  });
}
