import { describe, expect, it } from 'vitest';
import { JsonMembers } from '../src/json-members.ts';
import { traitsOf } from '../src/request-traits.ts';

const isResumableByIds = (body: object) =>
  traitsOf(
    JsonMembers.parse(Buffer.from(JSON.stringify({ prompt: 'a', stream: true, ...body }))),
    '/v1/completions',
  ).resumableByIds;

describe('a stream of an engine that only knows token ids', () => {
  it.each([
    {},
    { temperature: 0.7, top_p: 0.9, logit_bias: { 5: 1 } },
    { temperature: 0, seed: 1 },
    { stop_token_ids: [2], ignore_eos: true, max_tokens: 5 },
  ])('can be gone on with elsewhere: %j', (body) => {
    expect(isResumableByIds(body)).toBe(true);
  });

  it.each([
    { temperature: 0.7, seed: 1 },
    { n: 2 },
    { stop: ['x'] },
    { min_tokens: 3 },
    { presence_penalty: 1 },
    { response_format: { type: 'json_object' } },
    { bad_words: ['moon light'] },
    { thinking_token_budget: 100 },
    { repetition_detection: { max_pattern_size: 5 } },
    { return_token_offsets: true },
    { return_prompt_text: true },
  ])('cannot, where what comes next depends on what the output was: %j', (body) => {
    expect(isResumableByIds(body)).toBe(false);
  });
});
