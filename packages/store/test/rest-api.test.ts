import { once } from 'node:events';
import { connect } from 'node:net';
import { HttpService, SystemClock, silentLogger } from '@tsukimi/base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RestApi } from '../src/node/rest-api.ts';
import { TestCluster } from './cluster.ts';

describe('RestApi', () => {
  let cluster: TestCluster;
  let server: HttpService;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    const { store } = await cluster.serving({
      name: '127.0.0.1:7101',
      segmentByteCount: 8 * 2 ** 20,
      shared: false,
    });
    const api = new RestApi({
      store,
      sharedMemory: false,
      metrics: () => 'tsukimi_store_serving 1\n',
      clock: new SystemClock(),
      logger: silentLogger,
    });
    server = new HttpService({ name: 'rest', host: '127.0.0.1', port: 0, listener: api.handle });
    await server.start();
  });
  afterAll(async () => {
    await server.stop(AbortSignal.abort());
    await cluster.stop();
  });

  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    return [response.status, await response.text()];
  };

  it('puts, gets, tells of and removes objects', async () => {
    const success = [200, '{"status": "success"}'];
    expect(await call('GET', '/api/get/tea%2Fgreen')).toEqual([404, '{"error": "Key not found"}']);
    expect(await call('PUT', '/api/put', { key: 'tea/green', value: '茶' })).toEqual(success);
    expect(await call('PUT', '/api/put', { key: 'tea/green', value: 'other' })).toEqual(success);
    expect(await call('GET', '/api/get/tea%2Fgreen')).toEqual([200, '茶']);
    expect(await call('GET', '/api/exist/tea%2Fgreen')).toEqual([200, '{"exists": true}']);
    expect(await call('GET', '/api/exist/coffee')).toEqual([200, '{"exists": false}']);
    expect(await call('DELETE', '/api/remove/coffee')).toEqual([
      500,
      '{"error": "Remove operation failed"}',
    ]);
    expect(await call('DELETE', '/api/remove_all')).toEqual([
      200,
      '{"status": "success removed 0 keys"}',
    ]);
  });

  it.each([
    ['PUT', '/api/put', { key: 'k' }, 400, '{"error": "Missing key or value"}'],
    ['PUT', '/api/put', { key: '', value: 'v' }, 400, '{"error": "Missing key or value"}'],
    ['PUT', '/api/put', { key: 'k', value: '' }, 500, '{"error": "PUT operation failed"}'],
    ['PUT', '/api/put', { key: 'k', value: 1 }, 500, '{"error": "key and value are strings"}'],
    [
      'POST',
      '/api/mount',
      { size: -1 },
      400,
      '{"error": "Invalid size, must be a positive integer"}',
    ],
    ['POST', '/api/unmount', {}, 400, '{"error": "Missing segment_ids"}'],
    ['POST', '/api/unmount_local_disk', '{', 400, '{"error": "Malformed JSON body"}'],
    [
      'POST',
      '/api/unmount_local_disk',
      '[]',
      400,
      '{"error": "Request body must be a JSON object"}',
    ],
    ['GET', '/nothing', undefined, 404, '404: Not Found'],
    ['POST', '/api/put', {}, 405, '405: Method Not Allowed'],
  ])('answers %s %s with %j', async (method, path, body, status, text) => {
    expect(await call(method, path, body)).toEqual([status, text]);
  });

  it('refuses a body beyond its limit', async () => {
    const body = `{"key":"k","value":"${'x'.repeat(101 * 2 ** 20)}"}`;
    expect((await call('PUT', '/api/put', body))[0]).toBe(413);
  });

  it('holds so many bytes of bodies and no more, and meanwhile answers the others', async () => {
    await call('PUT', '/api/put', { key: 'held', value: 'here' });
    const head = `PUT /api/put HTTP/1.1\r\nhost: a\r\ncontent-length: ${100 * 2 ** 20}\r\n\r\n{`;
    const senders = Array.from({ length: 11 }, () => {
      const socket = connect(server.port, '127.0.0.1');
      socket.write(head);
      return socket;
    });
    const [refusal] = await Promise.race(senders.map((socket) => once(socket, 'data')));
    expect(String(refusal)).toMatch(/ 503 [^]*too many bytes/);
    expect(await call('GET', '/api/get/held')).toEqual([200, 'here']);
    expect((await call('GET', '/health'))[0]).toBe(200);
    for (const socket of senders) socket.destroy();
    const large = `{"key":"after","value":"${'x'.repeat(2 ** 20)}"}`.padEnd(90 * 2 ** 20);
    await expect.poll(async () => (await call('PUT', '/api/put', large))[0]).toBe(200);
  });

  it('mounts and unmounts segments', async () => {
    const [status, text] = await call('POST', '/api/mount', { size: 2 ** 20 });
    const { segment_ids: ids, allocated_size: size } = JSON.parse(text as string);
    expect([status, size]).toEqual([200, 2 ** 20]);
    expect(await call('POST', '/api/unmount', { segment_ids: ids })).toEqual([
      200,
      '{"status": "success"}',
    ]);
    expect((await call('POST', '/api/unmount', { segment_ids: ids }))[0]).toBe(500);
  });

  it('tells whether it is alive and ready', async () => {
    expect(await call('GET', '/health')).toEqual([200, 'OK']);
    expect(await call('GET', '/ready')).toEqual([200, '{"status": "serving"}']);
    expect(await call('GET', '/metrics')).toEqual([200, 'tsukimi_store_serving 1\n']);
  });
});
