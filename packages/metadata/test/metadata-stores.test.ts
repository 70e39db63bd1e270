import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import {
  freePort,
  makeCertificates,
  RealServer,
  startEtcd,
  startRedis,
} from '@tsukimi/metadata/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type ClosableMetadataStore,
  MetadataServer,
  openMetadataStore,
  parseMetadataAddress,
} from '../src/index.ts';

const clock = new SystemClock();
const disposals: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose();
});

async function open(url: string, env: Record<string, string> = {}): Promise<ClosableMetadataStore> {
  const address = parseMetadataAddress(url, env);
  const store = await openMetadataStore(address, { clock, logger: silentLogger });
  disposals.push(() => store.close());
  return store;
}

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tsukimi-tls-'));
  disposals.push(async () => rmSync(directory, { recursive: true }));
  return directory;
}

async function withServer(server: Promise<RealServer>): Promise<RealServer> {
  const started = await server;
  disposals.push(() => started.dispose());
  return started;
}

const redisCli = (port: number, ...args: string[]) =>
  execFileSync('redis-cli', ['-p', String(port), ...args], { encoding: 'utf8' });
const etcdctl = (port: number, ...args: string[]) =>
  execFileSync('etcdctl', [`--endpoints=127.0.0.1:${port}`, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ETCDCTL_API: '3' },
  });

const descriptor = {
  buffers: [{ addr: 2n ** 63n + 1n, length: 4096, name: 'h:1' }],
  name: 'h:1',
  protocol: 'tcp',
};

const backends: readonly {
  name: string;
  start: () => Promise<{ url: string; stop: () => Promise<unknown> }>;
}[] = [
  {
    name: 'http',
    start: async () => {
      const server = new MetadataServer({
        host: '127.0.0.1',
        port: 0,
        clock,
        logger: silentLogger,
        isAlive: async () => true,
      });
      await server.start();
      return {
        url: `http://127.0.0.1:${server.port}/metadata`,
        stop: () => server.stop(AbortSignal.abort()),
      };
    },
  },
  {
    name: 'etcd',
    start: async () => {
      const server = await startEtcd();
      return { url: `127.0.0.1:${server.port}`, stop: () => server.dispose() };
    },
  },
  {
    name: 'redis',
    start: async () => {
      const server = await startRedis();
      return { url: `redis://127.0.0.1:${server.port}`, stop: () => server.dispose() };
    },
  },
];

describe.each(backends)('the contract of a metadata store: $name', ({ start }) => {
  let url: string;
  let stop: () => Promise<unknown>;
  beforeAll(async () => {
    ({ url, stop } = await start());
  }, 30_000);
  afterAll(() => stop());

  it('gives back what another client has put, with all 64 bits', async () => {
    const [writer, reader] = [await open(url), await open(url)];
    expect(await reader.get('mooncake/ram/h:1')).toBeNull();
    await writer.put('mooncake/ram/h:1', descriptor);
    expect(await reader.get('mooncake/ram/h:1')).toEqual(descriptor);
    await writer.put('mooncake/ram/h:1', { ...descriptor, name: 'other' });
    expect(await reader.get('mooncake/ram/h:1')).toMatchObject({ name: 'other' });
    expect(await reader.remove('mooncake/ram/h:1')).toBe(true);
    expect(await reader.remove('mooncake/ram/h:1')).toBe(false);
    expect(await writer.get('mooncake/ram/h:1')).toBeNull();
  });

  it('keeps keys with slashes, blanks, percent signs and other scripts apart', async () => {
    const store = await open(url);
    const keys = [
      'mooncake/a/b',
      'mooncake/a%2Fb',
      'mooncake/a b',
      'mooncake/a+b',
      'mooncake/月見',
    ];
    for (const key of keys) await store.put(key, { key });
    for (const key of keys) expect(await store.get(key)).toEqual({ key });
    for (const key of keys) expect(await store.remove(key)).toBe(true);
  });

  it('refuses an rpc_meta key that another engine holds, and takes the same value again', async () => {
    const [first, second] = [await open(url), await open(url)];
    const key = 'mooncake/rpc_meta/h:2';
    await first.put(key, { ip_or_host_name: 'h', rpc_port: 1 });
    await first.put(key, { ip_or_host_name: 'h', rpc_port: 1 });
    await expect(second.put(key, { ip_or_host_name: 'h', rpc_port: 2 })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    expect(await second.get(key)).toEqual({ ip_or_host_name: 'h', rpc_port: 1 });
    await second.remove(key);
    await second.put(key, { ip_or_host_name: 'h', rpc_port: 2 });
    expect(await first.get(key)).toEqual({ ip_or_host_name: 'h', rpc_port: 2 });
  });

  it('ends with the signal of the caller', async () => {
    const store = await open(url);
    const gone = new AbortController();
    gone.abort(new Error('gone'));
    await expect(store.get('mooncake/ram/x', { signal: gone.signal })).rejects.toThrow('gone');
  });
});

describe('etcd', () => {
  it("writes Mooncake's bytes under a lease, and takes them along when it closes", async () => {
    const etcd = await withServer(startEtcd());
    const store = await open(`etcd://127.0.0.1:1,127.0.0.1:${etcd.port}`);
    await store.put('mooncake/rpc_meta/a:1', { rpc_port: 15895, ip_or_host_name: '127.0.0.1' });
    await store.put('mooncake/ram/a:1', { name: 'a:1' });
    expect(etcdctl(etcd.port, 'get', 'mooncake/rpc_meta/a:1')).toBe(
      'mooncake/rpc_meta/a:1\n{"ip_or_host_name":"127.0.0.1","rpc_port":15895}\n\n',
    );
    expect(etcdctl(etcd.port, 'lease', 'list')).toContain('found 1 leases');
    await store.close();
    expect(etcdctl(etcd.port, 'get', '--prefix', 'mooncake/')).toBe('');
  }, 30_000);

  it('works again after a restart, and puts again what a lost lease took', async () => {
    const etcd = await withServer(startEtcd());
    const store = await open(`127.0.0.1:${etcd.port}`);
    await store.put('mooncake/ram/a:1', { name: 'a:1' });
    await etcd.kill();
    await expect(store.get('mooncake/ram/a:1')).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    await etcd.start();
    expect(await eventually(() => store.get('mooncake/ram/a:1'), 'etcd to serve')).toEqual({
      name: 'a:1',
    });
    const lease = /\n(\w{10,})/.exec(etcdctl(etcd.port, 'lease', 'list'))?.[1] ?? '';
    etcdctl(etcd.port, 'lease', 'revoke', lease);
    expect(await store.get('mooncake/ram/a:1')).toBeNull();
    await eventually(() => store.get('mooncake/ram/a:1'), 'the key to be put again');
  }, 30_000);

  it('says who refused when the password is wrong', async () => {
    const etcd = await withServer(startEtcd());
    etcdctl(etcd.port, 'user', 'add', 'root:moon');
    etcdctl(etcd.port, 'user', 'grant-role', 'root', 'root');
    etcdctl(etcd.port, 'auth', 'enable');
    const right = await open(`etcd://root:moon@127.0.0.1:${etcd.port}`);
    await right.put('mooncake/ram/a:1', { name: 'a:1' });
    const fromEnvironment = await open(`127.0.0.1:${etcd.port}`, { ETCDCTL_USER: 'root:moon' });
    expect(await fromEnvironment.get('mooncake/ram/a:1')).toEqual({ name: 'a:1' });
    const wrong = await open(`etcd://root:sun@127.0.0.1:${etcd.port}`);
    await expect(wrong.get('mooncake/ram/a:1')).rejects.toMatchObject({
      code: 'REFUSED',
      message: expect.stringMatching(/^metadata_server etcd:\/\/127[^@]*refused/) as unknown,
    });
  }, 30_000);

  it('speaks TLS, and shows its certificate', async () => {
    const certificates = makeCertificates(temporary());
    const etcd = await withServer(startEtcd(certificates));
    const url = `etcds://127.0.0.1:${etcd.port}`;
    const authority = { ETCDCTL_CACERT: certificates.authority };
    const names = { ETCDCTL_CERT: certificates.certificate, ETCDCTL_KEY: certificates.key };
    const store = await open(url, { ...authority, ...names });
    await store.put('mooncake/ram/a:1', { name: 'a:1' });
    expect(await store.get('mooncake/ram/a:1')).toEqual({ name: 'a:1' });
    for (const env of [authority, names, {}]) {
      const stranger = await open(url, env);
      await expect(stranger.get('mooncake/ram/a:1')).rejects.toBeInstanceOf(Fault);
    }
    await expect(open(url, { ETCDCTL_CACERT: '/nowhere.pem' })).rejects.toMatchObject({
      code: 'MISCONFIGURED',
      message: 'ETCDCTL_CACERT: /nowhere.pem cannot be read (ENOENT)',
    });
  }, 30_000);

  it('does without an endpoint that never answers', async () => {
    const etcd = await withServer(startEtcd());
    const silent = await silentPort();
    const store = await open(`etcd://127.0.0.1:${silent};127.0.0.1:${etcd.port}`);
    for (let round = 0; round < 4; round += 1) {
      await store.put('mooncake/ram/a:1', { round });
      expect(await store.get('mooncake/ram/a:1')).toEqual({ round });
    }
    await etcd.kill();
    await expect(store.get('mooncake/ram/a:1')).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    await etcd.start();
    expect(await eventually(() => store.get('mooncake/ram/a:1'), 'etcd to serve')).toEqual({
      round: 3,
    });
  }, 30_000);
});

describe('redis', () => {
  it("writes Mooncake's bytes with a time to live, into the database asked for", async () => {
    const redis = await withServer(startRedis());
    const store = await open(`redis://127.0.0.1:${redis.port}`, { MC_REDIS_DB_INDEX: '3' });
    await store.put('mooncake/ram/a:1', { name: 'a:1', addr: 2n ** 64n - 1n });
    expect(redisCli(redis.port, '-n', '3', 'get', 'mooncake/ram/a:1')).toBe(
      '{"addr":18446744073709551615,"name":"a:1"}\n\n',
    );
    const seconds = Number(redisCli(redis.port, '-n', '3', 'ttl', 'mooncake/ram/a:1'));
    expect(seconds).toBeGreaterThan(20);
    expect(seconds).toBeLessThanOrEqual(30);
  });

  it('extends the life of its own keys only', async () => {
    const redis = await withServer(startRedis());
    const store = await open(`redis://127.0.0.1:${redis.port}/0`);
    await store.put('mooncake/ram/own', { name: 'own' });
    await store.put('mooncake/ram/taken', { name: 'taken' });
    redisCli(redis.port, 'expire', 'mooncake/ram/own', '8');
    redisCli(redis.port, 'set', 'mooncake/ram/taken', '{"name":"somebody"}');
    await eventually(
      () => Number(redisCli(redis.port, 'ttl', 'mooncake/ram/own')) > 20,
      'the life to be extended',
    );
    expect(redisCli(redis.port, 'ttl', 'mooncake/ram/taken')).toBe('-1\n');
  }, 20_000);

  it('puts everything again as soon as a restarted server answers', async () => {
    const redis = await withServer(startRedis());
    const store = await open(`redis://127.0.0.1:${redis.port}`);
    await store.put('mooncake/rpc_meta/a:1', { rpc_port: 1 });
    await store.put('mooncake/ram/a:1', { name: 'a:1' });
    await redis.kill();
    await expect(store.get('mooncake/ram/a:1')).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
    await redis.start();
    await eventually(
      () => redisCli(redis.port, 'exists', 'mooncake/ram/a:1', 'mooncake/rpc_meta/a:1') === '2\n',
      'both keys',
    );
  }, 20_000);

  it('logs in with the names of Mooncake, or says who refused', async () => {
    const redis = await withServer(startRedis('--requirepass', 'moon'));
    const named = await open(`redis://127.0.0.1:${redis.port}`, { MC_REDIS_PASSWORD: 'moon' });
    await named.put('mooncake/ram/a:1', { name: 'a:1' });
    const inUrl = await open(`redis://default:moon@127.0.0.1:${redis.port}/0`);
    expect(await inUrl.get('mooncake/ram/a:1')).toEqual({ name: 'a:1' });
    for (const login of ['', ':sun@']) {
      const refused = await open(`redis://${login}127.0.0.1:${redis.port}`);
      await expect(refused.get('mooncake/ram/a:1'), login).rejects.toMatchObject({
        code: 'REFUSED',
        message: expect.stringContaining(
          `metadata_server redis://127.0.0.1:${redis.port}`,
        ) as unknown,
      });
    }
  });

  it('speaks TLS', async () => {
    const { authority, certificate, key } = makeCertificates(temporary());
    const port = await freePort();
    const redis = await withServer(
      startRedis(
        ...['--tls-port', String(port), '--tls-cert-file', certificate, '--tls-key-file', key],
        ...['--tls-ca-cert-file', authority, '--tls-auth-clients', 'no'],
      ),
    );
    const stranger = await open(`rediss://127.0.0.1:${port}`);
    await expect(stranger.put('mooncake/ram/a:1', {})).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
      message: expect.stringContaining('certificate') as unknown,
    });
    // Node reads whom to trust only once, when a process starts.
    const script = `import { openMetadataStore, parseMetadataAddress } from '@tsukimi/metadata';
      import { Fault, SystemClock, silentLogger } from '@tsukimi/base';
      const ports = { clock: new SystemClock(), logger: silentLogger };
      const address = parseMetadataAddress('rediss://127.0.0.1:${port}', {});
      const store = await openMetadataStore(address, ports);
      await store.put('mooncake/ram/a:1', { name: 'a:1' });
      await store.close();`;
    const options = ['--conditions', '@tsukimi/source', '--import', 'tsx', '--input-type=module'];
    execFileSync(process.execPath, [...options, '--eval', script], {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: authority },
      cwd: import.meta.dirname,
    });
    expect(redisCli(redis.port, 'exists', 'mooncake/ram/a:1')).toBe('1\n');
  }, 20_000);

  it('works with a cluster', async () => {
    const redis = await withServer(
      startRedis(
        ...['--cluster-enabled', 'yes', '--cluster-port', String(await freePort())],
        ...['--cluster-announce-ip', '127.0.0.1'],
      ),
    );
    redisCli(redis.port, 'cluster', 'addslotsrange', '0', '16383');
    const store = await open(`redis+cluster://127.0.0.1:${redis.port}`);
    await eventually(
      () => store.put('mooncake/ram/a:1', { name: 'a:1' }).then(() => true),
      'the cluster to take writes',
    );
    await store.put('mooncake/rpc_meta/a:1', { rpc_port: 1 });
    expect(await store.get('mooncake/ram/a:1')).toEqual({ name: 'a:1' });
  }, 20_000);

  it('follows the sentinels', async () => {
    const redis = await withServer(startRedis());
    const port = await freePort();
    const sentinel = await withServer(
      new RealServer(port, (directory) => {
        const file = `${directory}/sentinel.conf`;
        writeFileSync(
          file,
          `port ${port}\nbind 127.0.0.1\nsentinel monitor moon 127.0.0.1 ${redis.port} 1\n`,
        );
        return ['redis-server', file, '--sentinel'];
      }).start(),
    );
    const store = await open(`redis+sentinel://127.0.0.1:${sentinel.port}/moon/2`);
    await store.put('mooncake/ram/a:1', { name: 'a:1' });
    expect(redisCli(redis.port, '-n', '2', 'exists', 'mooncake/ram/a:1')).toBe('1\n');
  }, 20_000);
});

/** A port that takes connections and never says a word. */
async function silentPort(): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  disposals.push(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        resolve();
      }),
  );
  return (server.address() as { port: number }).port;
}
