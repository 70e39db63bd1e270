import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { SystemClock, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { HttpMetadataStore, MetadataServer, type RpcMeta } from '../src/index.ts';
import { MetadataTable } from '../src/metadata-table.ts';

const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServer(options: Partial<ConstructorParameters<typeof MetadataServer>[0]> = {}) {
  const server = new MetadataServer({
    host: '127.0.0.1',
    port: 0,
    clock: new SystemClock(),
    logger: silentLogger,
    ...options,
  });
  await server.start();
  cleanups.push(() => server.stop(AbortSignal.abort()));
  return { server, base: `http://127.0.0.1:${server.port}/metadata` };
}

function store(base: string, options: { clock?: FakeClock; valueBytesMax?: number } = {}) {
  const made = new HttpMetadataStore({ url: new URL(base), clock: new SystemClock(), ...options });
  cleanups.push(() => made.close());
  return made;
}

/** An HTTP server that answers as told, for the client's view of strange servers. */
async function startScripted(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server: Server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/metadata`;
}

async function ask(method: string, url: string, body?: string) {
  const response = await fetch(url, { method, ...(body === undefined ? {} : { body }) });
  return [response.status, await response.text()];
}

describe('metadata server', () => {
  it('gives the answers of the C++ server', async () => {
    const { base } = await startServer();
    const url = `${base}?key=mooncake%2Fram%2Fa%3A1`;
    expect(await ask('GET', url)).toEqual([404, 'metadata not found']);
    expect(await ask('PUT', url, '{"a":1}')).toEqual([200, 'metadata updated']);
    expect(await ask('PUT', url, '{"a":2}')).toEqual([200, 'metadata updated']);
    const found = await fetch(url);
    expect(found.headers.get('content-type')).toBe('application/json');
    expect(await found.text()).toBe('{"a":2}');
    expect(await ask('GET', `${base}?key=mooncake/ram/a:1`)).toEqual([200, '{"a":2}']);
    expect(await ask('DELETE', url)).toEqual([200, 'metadata deleted']);
    expect(await ask('DELETE', url)).toEqual([404, 'metadata not found']);
    for (const method of ['GET', 'PUT', 'DELETE']) {
      expect(await ask(method, base)).toEqual([400, 'Missing key parameter']);
      expect(await ask(method, `${base}?key=`)).toEqual([400, 'Missing key parameter']);
    }
    expect(await ask('POST', url, 'x')).toEqual([404, '404 Not Found']);
    expect(await ask('GET', base.replace('/metadata', '/health'))).toEqual([200, 'OK']);
  });

  it('keeps the first rpc_meta of a name while its engine lives, and lets go when it is gone', async () => {
    const asked: RpcMeta[] = [];
    let alive = true;
    const { base } = await startServer({
      isAlive: async (meta) => {
        asked.push(meta);
        return alive;
      },
    });
    const url = `${base}?key=mooncake%2Frpc_meta%2Fa`;
    const first = '{"ip_or_host_name":"h","rpc_port":1}';
    const second = '{"ip_or_host_name":"h","rpc_port":2}';
    expect(await ask('PUT', url, first)).toEqual([200, 'metadata updated']);
    expect(await ask('PUT', url, first)).toEqual([200, 'metadata unchanged']);
    expect(await ask('PUT', url, second)).toEqual([400, 'Duplicate rpc_meta key not allowed']);
    expect(await ask('GET', url)).toEqual([200, first]);
    alive = false;
    expect(await ask('PUT', url, second)).toEqual([200, 'metadata updated']);
    expect(await ask('GET', url)).toEqual([200, second]);
    expect(asked).toEqual([
      { host: 'h', rpcPort: 1 },
      { host: 'h', rpcPort: 1 },
    ]);
  });

  it('lets an engine of 0.3.14 publish itself again under another version', async () => {
    const { base } = await startServer({ isAlive: async () => true });
    const url = `${base}?key=mooncake%2Frpc_meta%2Fa`;
    const meta = (version: number) =>
      `{"ip_or_host_name":"h","metadata_version":${version},"rpc_port":1}`;
    await ask('PUT', url, meta(1_764_000_000_000_001));
    expect(await ask('PUT', url, meta(1_764_000_000_000_002))).toEqual([200, 'metadata updated']);
  });

  it('means the same by encoded and by plain keys', async () => {
    const { base } = await startServer();
    const pairs = [
      ['mooncake%2fram%2Fa%3A1', 'mooncake/ram/a:1'],
      ['mooncake%2Fram%2Fa%2Bb', 'mooncake/ram/a+b'],
      ['mooncake%2Fram%2F%E6%9C%88', 'mooncake/ram/月'],
      ['mooncake%2Fram%2F100%25', 'mooncake/ram/100%'],
    ];
    for (const [encoded, plain] of pairs) {
      expect(await ask('PUT', `${base}?key=${encoded}`, '1')).toEqual([200, 'metadata updated']);
      expect(await ask('GET', `${base}?other=1&key=${plain}`), plain).toEqual([200, '1']);
    }
  });

  it('finds out by a connection whether an engine is there', async () => {
    const daemon = createTcpServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => daemon.listen(0, '127.0.0.1', resolve));
    const port = (daemon.address() as AddressInfo).port;
    const { base } = await startServer();
    const url = `${base}?key=mooncake%2Frpc_meta%2Fa`;
    await ask('PUT', url, `{"ip_or_host_name":"127.0.0.1","rpc_port":${port}}`);
    expect((await ask('PUT', url, '{}'))[0]).toBe(400);
    await new Promise((resolve) => daemon.close(resolve));
    expect((await ask('PUT', url, '{}'))[0]).toBe(200);
  });

  it('holds its limits', async () => {
    const { base } = await startServer({
      valueBytesMax: 100,
      limits: { keyCountMax: 2, totalBytesMax: 120, keyBytesMax: 10 },
    });
    expect((await ask('PUT', `${base}?key=a`, 'x'.repeat(101)))[0]).toBe(413);
    expect((await ask('PUT', `${base}?key=${'k'.repeat(11)}`, 'x'))[0]).toBe(414);
    expect((await ask('PUT', `${base}?key=a`, 'x'.repeat(100)))[0]).toBe(200);
    expect((await ask('PUT', `${base}?key=b`, 'x'.repeat(100)))[0]).toBe(507);
    expect((await ask('PUT', `${base}?key=b`, 'x'))[0]).toBe(200);
    expect((await ask('PUT', `${base}?key=c`, 'x'))[0]).toBe(507);
  });

  it('survives garbage', async () => {
    const { server, base } = await startServer();
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.resume();
    socket.write(Buffer.from(Array.from({ length: 5_000 }, (_, index) => (index * 7 + 1) % 256)));
    await new Promise((resolve) => socket.once('close', resolve));
    expect((await ask('GET', `${base}?key=%ff%zz`))[0]).toBe(404);
    expect((await ask('GET', `${base}?key=%F0`))[0]).toBe(404);
  });
});

describe('metadata table', () => {
  it('keeps its accounts whatever happens', () => {
    const key = fc.constantFrom('a', 'b', 'rpc_meta/a', 'ü');
    const step = fc.oneof(
      fc.tuple(fc.constant('put' as const), key, fc.nat(40)),
      fc.tuple(fc.constant('remove' as const), key, fc.constant(0)),
      fc.tuple(fc.constant('replace' as const), key, fc.nat(40)),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new MetadataTable({ keyBytesMax: 99, keyCountMax: 3, totalBytesMax: 90 });
        for (const [kind, name, byteCount] of steps) {
          if (kind === 'remove') table.remove(name);
          else table.put(name, Buffer.alloc(byteCount), kind === 'put' ? null : table.get(name));
          table.checkInvariants();
        }
      }),
    );
  });
});

describe('HTTP metadata store', () => {
  it('puts, gets and removes through the server', async () => {
    const { base } = await startServer();
    const metadata = store(base);
    expect(await metadata.get('mooncake/ram/a:1')).toBeNull();
    await metadata.put('mooncake/ram/a:1', { addr: 2n ** 63n, b: ['ü'] });
    expect(await metadata.get('mooncake/ram/a:1')).toEqual({ addr: 2n ** 63n, b: ['ü'] });
    expect(await metadata.remove('mooncake/ram/a:1')).toBe(true);
    expect(await metadata.remove('mooncake/ram/a:1')).toBe(false);
  });

  it('encodes keys as libcurl does', async () => {
    const urls: string[] = [];
    const base = await startScripted((request, response) => {
      urls.push(request.url ?? '');
      response.end('null');
    });
    await store(base).get("mooncake/ram/a:1 +~_-.!'()*ü");
    expect(urls).toEqual(['/metadata?key=mooncake%2Fram%2Fa%3A1%20%2B~_-.%21%27%28%29%2A%C3%BC']);
  });

  it('tells a taken name from other refusals', async () => {
    let answer: [number, string] = [400, 'Duplicate rpc_meta key not allowed'];
    const base = await startScripted((_request, response) => {
      response.writeHead(answer[0]).end(answer[1]);
    });
    const metadata = store(base);
    await expect(metadata.put('k', 1)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' });
    answer = [503, 'no'];
    await expect(metadata.put('k', 1)).rejects.toMatchObject({
      code: 'REFUSED',
      details: { code: 503 },
    });
    answer = [200, 'not json'];
    await expect(metadata.get('k')).rejects.toMatchObject({ code: 'MALFORMED' });
  });

  it('bounds what a server may send', async () => {
    const base = await startScripted((_request, response) => void response.end('x'.repeat(2_000)));
    await expect(store(base, { valueBytesMax: 1_000 }).get('k')).rejects.toMatchObject({
      code: 'TOO_LARGE',
    });
  });

  it('reports a server that is not there, and one that does not answer', async () => {
    const { server, base } = await startServer();
    await server.stop(AbortSignal.abort());
    await expect(store(base).get('k')).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });

    const clock = new FakeClock();
    const silent = await startScripted(() => clock.advance(3_000));
    await expect(store(silent, { clock }).get('k')).rejects.toMatchObject({
      code: 'DEADLINE_PASSED',
    });
  });
});
