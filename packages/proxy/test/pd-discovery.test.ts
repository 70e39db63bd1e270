import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { PdHint } from '../src/core/pd-facts.ts';
import { discoverPd } from '../src/membership/pd-discovery.ts';
import { startCluster } from './cluster.ts';

const instance = (kind: 'prefill' | 'decode', secure: boolean) => ({
  ...{ kind, origin: `http${secure ? 's' : ''}://p:8100` },
  endpoint: { host: 'p', port: 8_100, secure },
});

/** What is found at an instance that answers `told`, by URL. */
async function found(
  told: Readonly<Record<string, unknown>>,
  { kind = 'prefill', sole = true, secure = false, ...hint }: Partial<PdHint> & Where = {},
) {
  const asked: string[] = [];
  const look = (origin: string, path: string) => {
    asked.push(origin + path);
    const body = told[origin + path];
    return Promise.resolve(typeof body === 'object' ? JSON.stringify(body) : null);
  };
  const facts = await discoverPd(instance(kind, secure), { protocol: 'auto', ...hint }, sole, look);
  return { facts, asked };
}

interface Where {
  readonly kind?: 'prefill' | 'decode';
  readonly sole?: boolean;
  readonly secure?: boolean;
}

const query = { 10: { engine_id: 'k' }, 0: { engine_id: 'a' }, 2: { engine_id: 'c' } };

describe('what an instance shows of its protocol', () => {
  it('is nothing where nobody answers, until a request shows more', async () => {
    expect((await found({})).facts).toEqual({ protocol: 'auto' });
  });

  it.each(['/server_info', '/get_server_info'])('is that of SGLang at %s', async (path) => {
    const at = `http://p:8100${path}`;
    const info = { disaggregation_mode: 'prefill', disaggregation_bootstrap_port: 9_001 };
    const sglang = (bootstrapPort: number | null) => ({ protocol: 'sglang', bootstrapPort });
    expect((await found({ [at]: info })).facts).toEqual(sglang(9_001));
    expect((await found({ [at]: info }, { bootstrapPort: 7 })).facts).toEqual(sglang(7));
    const mute = { disaggregation_mode: 'decode' };
    expect((await found({ [at]: mute }, { kind: 'decode' })).facts).toEqual(sglang(null));
    const whole = { ...info, disaggregation_mode: 'null' };
    expect((await found({ [at]: whole })).facts).toEqual({ protocol: 'auto' });
  });

  it('is that of Mooncake where its bootstrap server tells the engine of each rank', async () => {
    const at = (port: number) => ({
      protocol: 'mooncake',
      bootstrap: { address: `http://p:${port}`, engineIds: ['a', 'c', 'k'] },
    });
    expect((await found({ 'http://p:8998/query': query })).facts).toEqual(at(8_998));
    const other = await found({ 'http://p:8999/query': query }, { bootstrapPort: 8_999 });
    expect(other.facts).toEqual(at(8_999));
  });

  it('is asked over TLS where the instance has it, unless an operator says mooncake', async () => {
    const plain = { 'http://p:8998/query': query };
    const secure = { 'https://p:8998/query': query };
    const over = (scheme: string) => ({ bootstrap: { address: `${scheme}://p:8998` } });
    expect((await found({ ...plain, ...secure }, { secure: true })).facts).toMatchObject(
      over('https'),
    );
    const { facts, asked } = await found(plain, { secure: true });
    expect(facts).toEqual({ protocol: 'auto' });
    expect(asked.filter((url) => !url.startsWith('https://p:'))).toEqual([]);
    const said = await found(plain, { secure: true, protocol: 'mooncake' });
    expect(said.facts).toMatchObject(over('http'));
  });

  it('is asked of a bootstrap server without the key, which is for the instance alone', async () => {
    const told: (string | undefined)[] = [];
    const server = createServer(({ headers }, response) => {
      told.push(headers.authorization);
      response.end(JSON.stringify(query));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    await using cluster = await startCluster({
      prefill: [{ ours: false }],
      argv: ['--bootstrap-port', String(port)],
      env: { OPENAI_API_KEY: 'sk-instances' },
    });
    const [prefill] = cluster.proxy.pool.instances;
    expect(prefill?.identity?.pd?.protocol).toBe('mooncake');
    expect(told.length).toBeGreaterThan(0);
    expect(new Set(told)).toEqual(new Set([undefined]));
  });

  it("is not asked of a server that may be a neighbour's, nor for a decode instance", async () => {
    const told = { 'http://p:8998/query': query };
    for (const where of [{ sole: false }, { kind: 'decode' }] as const) {
      const { facts, asked } = await found(told, where);
      expect(facts).toEqual({ protocol: 'auto' });
      expect(asked).not.toContain('http://p:8998/query');
    }
    const said = await found(told, { sole: false, bootstrapPort: 8_998 });
    expect(said.facts.protocol).toBe('mooncake');
  });

  it('is none of garbage', async () => {
    for (const garbage of [[], { 0: {} }, { 0: { engine_id: '' } }, { 0: { engine_id: 5 } }]) {
      const told = { 'http://p:8998/query': garbage, 'http://p:8100/server_info': garbage };
      expect((await found(told)).facts).toEqual({ protocol: 'auto' });
    }
  });

  it('does not matter where an operator has said it', async () => {
    const told = { 'http://p:8100/server_info': { disaggregation_mode: 'prefill' } };
    expect(await found(told, { protocol: 'nixl' })).toEqual({
      ...{ facts: { protocol: 'nixl' }, asked: [] },
    });
    const side = { engineId: 'e', host: 'p', port: 5_600, tensorParallelSize: 2 };
    const hint = { engineId: 'e', kvPort: 5_600, tensorParallelSize: 2 };
    expect((await found(told, { protocol: 'nixl_push', ...hint })).facts).toEqual({
      protocol: 'nixl_push',
      side: { ...side, pipelineParallelSize: 1 },
    });
  });
});
