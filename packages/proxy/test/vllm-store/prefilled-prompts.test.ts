import { expect, it } from 'vitest';
import type { PoolInstance } from '../../src/core/pool-instance.ts';
import { JsonMembers } from '../../src/json-members.ts';
import { prefilledPrompts } from '../../src/vllm-store/prefilled-prompts.ts';

const instance = {
  identity: {
    models: [
      { id: 'base', root: '/models/base', parent: null },
      { id: 'sql', root: '/adapters/sql', parent: 'base' },
    ],
  },
} as unknown as PoolInstance;
const promptsOf = (body: object, tokenIds: number[][] = [[1, 2]]) =>
  prefilledPrompts(tokenIds, JsonMembers.parse(Buffer.from(JSON.stringify(body))), instance);

it('takes what goes into the hashes from the request and from what the instance serves', () => {
  expect(promptsOf({ model: 'base' })?.extras).toEqual({ lora: null, cacheSalt: null });
  expect(promptsOf({ model: 'sql', cache_salt: 'é' })?.extras).toEqual({
    lora: { name: 'sql', path: '/adapters/sql' },
    cacheSalt: 'é',
  });
});

it('knows nothing of prompts with contents that the engine hashes by itself', () => {
  const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } };
  expect(promptsOf({ messages: [{ role: 'user', content: [image] }] })).toBeNull();
  expect(promptsOf({ prompt_embeds: 'AAAA' })).toBeNull();
  expect(promptsOf({ messages: [{ role: 'user', content: 'an image_url' }] })).not.toBeNull();
  expect(promptsOf({ prompt: 'x' }, [])).toBeNull();
});
