import { describe, expect, it } from 'vitest';
import type { PdHint } from '../src/core/pd-facts.ts';
import { discoverPd } from '../src/membership/pd-discovery.ts';

const instance = (kind: 'prefill' | 'decode') => ({
  ...{ kind, origin: 'http://p:8100', endpoint: { host: 'p', port: 8_100 } },
});

/** What is found at an instance that answers `told`, by URL. */
async function found(
  told: Readonly<Record<string, unknown>>,
  { kind = 'prefill', sole = true, ...hint }: Partial<PdHint> & Where = {},
) {
  const asked: string[] = [];
  const look = (origin: string, path: string) => {
    asked.push(origin + path);
    const body = told[origin + path];
    return Promise.resolve(typeof body === 'object' ? JSON.stringify(body) : null);
  };
  const facts = await discoverPd(instance(kind), { protocol: 'auto', ...hint }, sole, look);
  return { facts, asked };
}

interface Where {
  readonly kind?: 'prefill' | 'decode';
  readonly sole?: boolean;
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
