import { loadOptions, SeededRandom, type Service, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { createInstance, serveOptions } from '@tsukimi/instance';
import { assembleProxy, proxyOptions } from '@tsukimi/proxy';
import { describe, expect, it, onTestFinished } from 'vitest';

const env = { ADMIN_API_KEY: 'admin' };
const parts = () => ({
  ...{ clock: new SystemClock(), random: new SeededRandom(1), logger: silentLogger },
  ...{ env, version: '0', print: () => {} },
});
const loopback = ['--host', '127.0.0.1', '--model', 'tsukimi-demo-1m'];

async function stopAll(services: readonly Service[]): Promise<void> {
  for (const service of [...services].reverse()) await service.stop(AbortSignal.timeout(5_000));
}

async function started(services: readonly Service[]): Promise<void> {
  onTestFinished(() => stopAll(services));
  for (const service of services) await service.start();
}

async function startProxy(port = 0) {
  const argv = [...loopback, '--port', String(port)];
  const proxy = await assembleProxy(loadOptions(proxyOptions, { argv, env }), parts());
  await started(proxy.services);
  return proxy;
}

async function startInstance(urls: string, ...argv: readonly string[]) {
  const all = [...loopback, '--port', '0', '--threads', '1', '--register-with', urls, ...argv];
  const instance = await createInstance(loadOptions(serveOptions, { argv: all, env }), parts());
  await started(instance.services);
  return instance;
}

const urlOf = ({ entrance }: { entrance: { port: number } }) => `http://127.0.0.1:${entrance.port}`;

describe('an instance that registers with proxies', () => {
  it('serves behind all of them, and is gone from all when it stops', async () => {
    const [one, other] = [await startProxy(), await startProxy()];
    const instance = await startInstance(`${urlOf(one)},${urlOf(other)}/`, '--register-as=decode');
    const { pool } = other;
    for (const proxy of [one, other]) {
      await eventually(() => proxy.pool.instances[0]?.state.name === 'up', 'the instance');
    }
    expect(pool.instances).toMatchObject([
      { kind: 'decode', address: `127.0.0.1:${instance.server.port}` },
    ]);
    await stopAll(instance.services);
    await eventually(() => one.pool.instances.length + pool.instances.length === 0, 'its leaving');
  });

  it('takes back what it is just saying when it stops', async () => {
    const proxy = await startProxy();
    const instance = await startInstance(urlOf(proxy));
    // It has joined, and the proxy has not yet answered.
    while (proxy.pool.instances.length === 0) await new Promise(setImmediate);
    await stopAll(instance.services);
    await eventually(() => proxy.pool.instances.length === 0, 'its leaving', 2_000);
  });

  it('stays while it speaks, and vanishes when it is silent, though it still serves', async () => {
    const proxy = await startProxy();
    const instance = await startInstance(urlOf(proxy), '--register-ttl', '1');
    await eventually(() => proxy.pool.instances.length === 1, 'the instance');
    // Several times as long as it may be silent.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(proxy.pool.instances).toMatchObject([{ kind: 'prefill', draining: false }]);
    const registration = instance.services.at(-1) as Service;
    const { port } = instance.server;
    await registration.stop(AbortSignal.abort());
    expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
    await eventually(() => proxy.pool.instances.length === 0, 'its vanishing', 5_000);
  });

  it('asks on while its proxy is away', async () => {
    const first = await startProxy();
    const { port } = first.entrance;
    await stopAll(first.services);
    await startInstance(`http://127.0.0.1:${port}`, '--register-ttl', '3');
    const proxy = await startProxy(port);
    await eventually(() => proxy.pool.instances.length === 1, 'the instance', 5_000);
  });

  it('needs a key, a URL, and an address of its own', async () => {
    const create = (argv: readonly string[], given: Record<string, string> = env) =>
      createInstance(loadOptions(serveOptions, { argv, env: given }), parts());
    const model = ['--model', 'tsukimi-demo-1m', '--register-with'];
    await expect(create([...model, 'http://h:1'], {})).rejects.toThrow(/ADMIN_API_KEY/);
    await expect(create([...model, 'http://h:1'])).rejects.toThrow(/in place of 0\.0\.0\.0/);
    expect(() => loadOptions(serveOptions, { argv: [...model, 'h:1'], env })).toThrow(/not a URL/);
  });
});
