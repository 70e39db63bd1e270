import { describe, expect, it } from 'vitest';
import { answerChunk, usageChunk, usageOf, wholeAnswer } from '../src/answers.ts';

const head = {
  id: 'cmpl-1',
  kind: 'completion',
  created: 7,
  model: 'm',
  systemFingerprint: 'fp',
} as const;
const chat = { ...head, id: 'chatcmpl-1', kind: 'chat' } as const;
const figures = {
  promptTokens: 10,
  completionTokens: 2,
  cachedTokens: 9,
  prefillCachedTokens: null,
};

describe('answers', () => {
  it('put token ids last in the choice, where a relay can take them out by their bytes', () => {
    const told = { text: 'x', finishReason: null, promptTokenIds: [1, 2], tokenIds: [3, 4] };
    const plain = { text: 'x', finishReason: null };
    for (const [which, ids] of [
      [head, ',"prompt_token_ids":[1,2],"token_ids":[3,4]}'],
      [chat, ',"token_ids":[3,4]}'],
    ] as const) {
      const bytes = JSON.stringify(answerChunk(which, told));
      expect(bytes).toContain(ids);
      expect(bytes.replace(/,"(prompt_)?token_ids":\[[\d,]*\]/g, '')).toBe(
        JSON.stringify(answerChunk(which, plain)),
      );
    }
    expect(JSON.stringify(wholeAnswer(chat, told, usageOf(figures)))).toMatch(
      /,"prompt_token_ids":\[1,2\]\}$/,
    );
  });

  it('open a chat stream with the role and end it with an empty delta', () => {
    const deltas = [
      { text: null, finishReason: null },
      { text: 'Hi', finishReason: null },
      { text: '', finishReason: 'stop' as const },
    ].map(
      (piece) => (answerChunk(chat, piece) as { choices: { delta: object }[] }).choices[0]?.delta,
    );
    expect(deltas).toEqual([{ role: 'assistant', content: '' }, { content: 'Hi' }, {}]);
  });

  it('tell usage in a chunk of its own, null before, absent when not asked', () => {
    expect(usageChunk(head, usageOf(figures))).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 },
    });
    expect(answerChunk(head, { text: 'x', finishReason: null }, null)).toHaveProperty(
      'usage',
      null,
    );
    expect(answerChunk(head, { text: 'x', finishReason: null })).not.toHaveProperty('usage');
  });
});

describe('usageOf', () => {
  it("shows the prefill instance's figure first and our own beside it", () => {
    expect(usageOf(figures).prompt_tokens_details).toEqual({ cached_tokens: 9 });
    expect(usageOf({ ...figures, prefillCachedTokens: 0 }).prompt_tokens_details).toEqual({
      cached_tokens: 0,
      decode_loaded_tokens: 9,
    });
  });
});
