import { expect, it } from 'vitest';
import { promptTokenIdsIn } from '../../src/vllm-store/prompt-token-ids.ts';

const read = (answer: object | string) =>
  promptTokenIdsIn(Buffer.from(typeof answer === 'string' ? answer : JSON.stringify(answer)));

it('reads the list of each choice, and the one of a chat', () => {
  const choice = (ids: number[]) => ({ text: 'a', token_ids: [1], prompt_token_ids: ids });
  expect(read({ choices: [choice([260, 270]), choice([7])] })).toEqual([[260, 270], [7]]);
  expect(read({ choices: [{ token_ids: [503] }], prompt_token_ids: [1, 260, 0] })).toEqual([
    [1, 260, 0],
  ]);
  expect(read('{"prompt_token_ids":[ 1, 2 ],"x":0}')).toEqual([[1, 2]]);
});

it('is not taken in by a text of the model', () => {
  expect(read({ text: ',"prompt_token_ids":[1,2]', more: '{"prompt_token_ids":[3]}' })).toEqual([]);
});

it('reads nothing of what is no list of ids', () => {
  for (const value of ['null', '[]', '[1,,2]', '[-1]', '[1.5]', '["1"]', '[1234567890]', '[1,2']) {
    expect(read(`{"prompt_token_ids":${value}`)).toEqual([]);
  }
});
