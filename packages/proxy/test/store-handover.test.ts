import { expect, it } from 'vitest';
import { startCluster } from './cluster.ts';

const foreign = { prefill: [{ ours: false }], decode: [{ ours: false }] };
const body = { model: 'tsukimi-demo', prompt: 'x'.repeat(40), max_tokens: 4 };
/** Nobody listens on the port that the system reserves. */
const deadMaster = ['--master-server-address', '127.0.0.1:1'];

it('asks prefill for the tokens that decode waits for, and does not wait for a dead master', async () => {
  await using cluster = await startCluster({ ...foreign, argv: deadMaster });
  const response = await cluster.post(body);
  expect(response.status).toBe(200);
  expect(await response.text()).not.toContain('prompt_token_ids');
  expect(cluster.sent('prefill')).toMatchObject([
    { body: { return_token_ids: true, max_tokens: 1 } },
  ]);
  expect(cluster.sent('decode').map(({ text }) => text)).toEqual([JSON.stringify(body)]);
  const metrics = await (await fetch(`${cluster.url}/metrics`)).text();
  expect(metrics).toContain('tsukimi_proxy_store_waits_total{outcome="no_master"} 1\n');
  expect(metrics).toContain('tsukimi_proxy_stage_seconds_count{stage="handover"} 1\n');
});

it.each([
  ['where no master is named', []],
  ['where nobody is to wait', [...deadMaster, '--handover-ms', '0']],
])('asks for no tokens %s', async (_when, argv) => {
  await using cluster = await startCluster({ ...foreign, argv });
  expect((await cluster.post(body)).status).toBe(200);
  expect(cluster.sent('prefill')[0]?.body).not.toHaveProperty('return_token_ids');
});

it('asks no instance of ours, which answers only once the store has all', async () => {
  await using cluster = await startCluster({
    prefill: [{}],
    decode: [{ ours: false }],
    argv: deadMaster,
  });
  expect((await cluster.post(body)).status).toBe(200);
  expect(cluster.sent('prefill')[0]?.body).not.toHaveProperty('return_token_ids');
});
