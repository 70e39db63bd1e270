import { Fault } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { openAiErrorOf } from '../src/error.ts';
import {
  parseChatRequest,
  parseCompletionRequest,
  parseDetokenizeRequest,
  parseTokenizeRequest,
} from '../src/requests.ts';

const completion = { model: 'm', prompt: 'Once' };
const chat = { model: 'm', messages: [{ role: 'user', content: 'Hello' }] };

function refusal(parse: () => unknown): { param: string; message: string; status: number } {
  try {
    parse();
  } catch (error) {
    expect(error).toBeInstanceOf(Fault);
    const { status, body } = openAiErrorOf(error);
    return { param: String(body.error.param), message: body.error.message, status };
  }
  throw new Error('the request was accepted');
}

describe('parseCompletionRequest', () => {
  it('fills in what OpenAI would, also for fields that are null', () => {
    const request = parseCompletionRequest({ ...completion, temperature: null, stop: null });
    expect(request).toMatchObject({
      prompt: 'Once',
      maxTokens: null,
      stream: false,
      stop: [],
      salt: '',
      sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, seed: null, logitBias: [] },
      resumeTokens: [],
      prefillCachedTokens: null,
      handover: false,
      tellsChunkKeys: false,
    });
  });

  it('reads every field it knows and ignores those it does not', () => {
    expect(
      parseCompletionRequest({
        ...completion,
        prompt: [1, 2, 3],
        max_tokens: 5,
        min_tokens: 2,
        stream: true,
        stream_options: { include_usage: true },
        top_k: -1,
        seed: -7,
        stop: 'END',
        logit_bias: { 50: -100 },
        ignore_eos: true,
        cache_salt: 'tenant',
        return_token_ids: true,
        tsukimi_resume: { output_token_ids: [4, 5] },
        tsukimi_prefill_cached_tokens: 256,
        user: 'somebody',
        priority: 3,
        never_heard_of: {},
        n: 1,
        echo: false,
        logprobs: null,
        response_format: { type: 'text' },
      }),
    ).toMatchObject({
      prompt: [1, 2, 3],
      maxTokens: 5,
      minTokens: 2,
      includeUsage: true,
      stop: ['END'],
      ignoreEos: true,
      salt: 'tenant',
      returnTokenIds: true,
      resumeTokens: [4, 5],
      prefillCachedTokens: 256,
      sampling: { topK: 0, seed: -7, logitBias: [[50, -100]] },
    });
  });

  it('takes an array of one prompt as that prompt', () => {
    expect(parseCompletionRequest({ ...completion, prompt: ['Once'] }).prompt).toBe('Once');
    expect(parseCompletionRequest({ ...completion, prompt: [[7, 8]] }).prompt).toEqual([7, 8]);
    expect(parseCompletionRequest({ ...completion, prompt: [7] }).prompt).toEqual([7]);
  });

  it.each([
    ['temperature', 2.1],
    ['temperature', -1],
    ['temperature', 'hot'],
    ['top_p', 0],
    ['top_p', 7],
    ['top_k', -2],
    ['min_p', 1.5],
    ['max_tokens', 0],
    ['max_tokens', 1.5],
    ['min_tokens', -1],
    ['presence_penalty', 3],
    ['frequency_penalty', -2.5],
    ['repetition_penalty', 0],
    ['seed', 0.5],
    ['stop', ''],
    ['stop', Array(17).fill('x')],
    ['stream', 'yes'],
    ['stream_options', { include_usage: true }],
    ['logit_bias', { word: 1 }],
    ['logit_bias.5', { 5: 101 }],
    ['prompt', undefined],
    ['prompt', ['one', 'two']],
    ['prompt', [1, -2]],
    ['model', 7],
    ['cache_salt', ''],
    ['tsukimi_resume.output_token_ids', { output_token_ids: 'x' }],
  ])('names %s when it is %j', (param, value) => {
    const field = param.split('.')[0] as string;
    const found = refusal(() => parseCompletionRequest({ ...completion, [field]: value }));
    expect(found.status).toBe(400);
    expect(found.param.startsWith(field)).toBe(true);
    expect(found.message).toContain(field);
  });

  it('refuses more tokens at least than at most', () => {
    expect(
      refusal(() => parseCompletionRequest({ ...completion, max_tokens: 3, min_tokens: 4 })),
    ).toMatchObject({ param: 'min_tokens' });
  });

  it.each([
    ['n', 2],
    ['best_of', 2],
    ['logprobs', 0],
    ['echo', true],
    ['suffix', 'end'],
    ['response_format', { type: 'json_object' }],
    ['prompt_logprobs', 1],
    ['stop_token_ids', [9]],
  ])('says that %s is not supported here', (param, value) => {
    const found = refusal(() => parseCompletionRequest({ ...completion, [param]: value }));
    expect(found).toMatchObject({ status: 400, param });
    expect(found.message).toContain('not supported here');
  });

  it('refuses a body that is not an object', () => {
    expect(refusal(() => parseCompletionRequest([completion])).status).toBe(400);
    expect(refusal(() => parseCompletionRequest(null)).message).toContain('JSON object');
  });
});

describe('parseChatRequest', () => {
  it('joins text parts, and knows both names of the limit and of the system role', () => {
    const request = parseChatRequest({
      ...chat,
      max_completion_tokens: 9,
      max_tokens: 5,
      messages: [
        { role: 'developer', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
        { role: 'assistant', content: null },
        { role: 'user', name: 'Ada', content: 'c' },
      ],
    });
    expect(request.maxTokens).toBe(9);
    expect(request.messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'a\nb' },
      { role: 'assistant', content: '' },
      { role: 'user', name: 'Ada', content: 'c' },
    ]);
  });

  it('leaves the limit open when none is named', () => {
    expect(parseChatRequest(chat).maxTokens).toBeNull();
  });

  it.each([
    ['messages', { ...chat, messages: [] }],
    ['messages', { model: 'm' }],
    ['messages.0.role', { ...chat, messages: [{ role: 'wizard', content: 'x' }] }],
    ['messages.0.content', { ...chat, messages: [{ role: 'user' }] }],
    [
      'messages.0.content',
      { ...chat, messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
    ],
    ['tools', { ...chat, tools: [{ type: 'function' }] }],
  ])('names %s when it is wrong', (param, body) => {
    expect(refusal(() => parseChatRequest(body))).toMatchObject({ status: 400, param });
  });
});

describe('parseTokenizeRequest', () => {
  it('takes a prompt, a content or messages', () => {
    expect(parseTokenizeRequest({ prompt: 'a' })).toEqual({ text: 'a', addSpecialTokens: true });
    expect(parseTokenizeRequest({ content: '' })).toEqual({ text: '', addSpecialTokens: true });
    expect(parseTokenizeRequest(chat)).toMatchObject({
      messages: chat.messages,
      addSpecialTokens: false,
    });
    expect(refusal(() => parseTokenizeRequest({})).param).toBe('prompt');
    expect(refusal(() => parseDetokenizeRequest({ tokens: 'x' })).param).toBe('tokens');
  });
});
