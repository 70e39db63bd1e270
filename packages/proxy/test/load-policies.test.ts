import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadOptions, silentLogger } from '@tsukimi/base';
import { afterAll, describe, expect, it } from 'vitest';
import { loadPolicies, proxyOptions } from '../src/index.ts';
import { startCluster } from './cluster.ts';
import { candidate, snapshot } from './policies/candidates.ts';

const example = fileURLToPath(new URL('../../../docs/my-policy.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'tsukimi-policies-'));
afterAll(() => rmSync(directory, { recursive: true }));

function optionsOf(...argv: string[]) {
  return loadOptions(proxyOptions, { argv: ['--model', 'tsukimi-demo', ...argv], env: {} });
}

function written(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe('a policy of a user', () => {
  it('chooses for its leg; the example of the documentation does', async () => {
    const options = optionsOf('--prefill-scheduling', example);
    const { prefill, decode } = await loadPolicies(options, silentLogger);
    const candidates = [
      candidate(0, { activeRequestCount: 3, queuedTokenCount: 0 }),
      candidate(1, { activeRequestCount: 1, queuedTokenCount: 9 }),
    ];
    const long = snapshot(candidates, { request: { promptTokenCount: 5_000 } });
    const short = snapshot(candidates, { request: { promptTokenCount: 5 } });
    expect([prefill.choose(long).instance.order, prefill.choose(short).instance.order]).toEqual([
      0, 1,
    ]);
    expect(decode.choose(short).reason).not.toBe('short');
  });

  it.each([
    ['throws', 'export default { choose() { throw new Error("no") } };'],
    ['chooses nobody', 'export default { choose: () => ({ instance: null }) };'],
    ['answers with nothing', 'export default { choose() {} };'],
  ])('that %s costs no request, and one line in the log', async (name, text) => {
    const path = written(`${name.replaceAll(' ', '-')}.mjs`, text);
    const warnings: object[] = [];
    const logger = { ...silentLogger, warn: (event: string) => warnings.push({ event }) };
    const policies = await loadPolicies(optionsOf('--scheduling', path), logger);
    await using cluster = await startCluster({ policies });
    for (let count = 0; count < 2; count += 1) {
      const answer = await cluster.post({ model: 'tsukimi-demo', prompt: 'a', max_tokens: 1 });
      expect(answer.status).toBe(200);
      await answer.text();
    }
    expect(warnings).toContainEqual({ event: 'proxy.policy_failed' });
    expect(warnings.length).toBeLessThanOrEqual(2);
  });

  it('cannot put a wrong count into the load of an instance', async () => {
    const choice = '{ instance: candidates[0], hitTokenCount: NaN, reason: 7 }';
    const path = written(
      'wrong.mjs',
      `export default { choose: ({ candidates }) => (${choice}) };`,
    );
    const policies = await loadPolicies(optionsOf('--scheduling', path), silentLogger);
    const choose = policies.prefill.choose(snapshot([candidate(0)]));
    expect(choose).toMatchObject({ hitTokenCount: 0, reason: '7' });
  });

  it.each([
    ['is not there', './nowhere.js', /nowhere\.js/],
    ['exports nothing', written('empty.mjs', ''), /no function `choose`/],
    ['is no JavaScript', written('broken.mjs', '{'), /broken\.mjs/],
  ])('that %s is refused at the start', async (_, path, message) => {
    await expect(loadPolicies(optionsOf('--scheduling', path), silentLogger)).rejects.toThrow(
      message,
    );
  });

  it('that has no such name is refused with those that there are', () => {
    expect(() => optionsOf('--scheduling', 'best')).toThrow(/round_robin.*\.js/);
  });
});

describe('an objective', () => {
  it('that cannot be met is refused with 429 and a time, unless somebody is idle', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    await using cluster = await startCluster({
      prefill: [{ connector: () => held.then(() => ({})) }],
      argv: ['--ttft-objective-ms', '1000'],
    });
    const body = { model: 'tsukimi-demo', prompt: 'x'.repeat(40_000), max_tokens: 1 };
    const first = cluster.post(body);
    await expect.poll(() => cluster.proxy.pool.instances[0]?.activeRequestCount).toBe(1);
    const refused = await cluster.post(body);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ error: { type: 'rate_limit_error' } });
    release();
    expect((await first).status).toBe(200);
    expect((await cluster.post(body)).status).toBe(200);
  });
});
