import { describe, expect, it } from 'vitest';
import { JsonMembers } from '../src/json-members.ts';
import { withoutTransferParams } from '../src/transfer-params.ts';
import { startCluster } from './cluster.ts';

const cleaned = (text: string) =>
  withoutTransferParams(JsonMembers.parse(Buffer.from(text))).bytes.toString();

describe('a request without transfer parameters', () => {
  it.each([
    ['{"a": 1,"kv_transfer_params":{"x":1},"b":2}', '{"a": 1,"b":2}'],
    ['{"ec_transfer_params":"x"}', '{}'],
    ['{"kv\\u005ftransfer_params":1,"a":1}', '{"a":1}'],
    [
      '{"vllm_xargs":{"session_id":9223372036854775807,"kv_transfer_params":"x"},"a":1}',
      '{"a":1,"vllm_xargs":{"session_id":9223372036854775807}}',
    ],
    ['{"vllm_xargs":{"ec\\u005ftransfer_params":[1]}}', '{"vllm_xargs":{}}'],
    [
      '{"sampling_params":{"n":1,"extra_args":{"kv_transfer_params":{},"y":"é"}}}',
      '{"sampling_params":{"n":1,"extra_args":{"y":"é"}}}',
    ],
  ])('is made of %s', (text, expected) => {
    expect(cleaned(text)).toBe(expected);
  });

  it.each([
    '{"prompt":"kv_transfer_params","x":{"kv_transfer_params":1}}',
    '{"vllm_xargs":null,"sampling_params":[1],"a":{"vllm_xargs":1}}',
    '{"sampling_params":{"kv":1,"extra_args":"kv_transfer_params"}}',
  ])('is the same where there are none: %s', (text) => {
    const members = JsonMembers.parse(Buffer.from(text));
    expect(withoutTransferParams(members)).toBe(members);
  });

  it('is refused, with the name of what cannot be looked into', async () => {
    await using cluster = await startCluster();
    const crowd = Object.fromEntries(Array.from({ length: 1_100 }, (_, at) => [`m${at}`, 0]));
    const response = await cluster.post({ prompt: 'a', vllm_xargs: crowd });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { message: '"vllm_xargs" has too many members' },
    });
  });

  it('is what every leg is made of', async () => {
    await using cluster = await startCluster({ prefill: [{ ours: false }] });
    const told = { kv_transfer_params: 'evil', ec_transfer_params: 'evil' };
    const response = await cluster.post({ prompt: 'a', max_tokens: 1, ...told, vllm_xargs: told });
    expect(response.status).toBe(200);
    for (const { text } of [...cluster.sent('prefill'), ...cluster.sent('decode')]) {
      expect(text).not.toContain('evil');
    }
  });
});
