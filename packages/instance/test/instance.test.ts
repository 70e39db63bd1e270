import { connect } from 'node:net';
import {
  loadOptions,
  runServices,
  SeededRandom,
  type Service,
  SystemClock,
  silentLogger,
} from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { SseSplitter, sseData } from '@tsukimi/openai-api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createInstance, serveOptions } from '../src/index.ts';

interface Choice {
  readonly text: string;
  readonly message?: { readonly content: string };
  readonly delta?: { readonly role?: string; readonly content?: string };
  readonly finish_reason: string | null;
  readonly token_ids?: number[];
  readonly prompt_token_ids?: number[];
}
interface Answer {
  readonly id: string;
  readonly choices: readonly Choice[];
  readonly prompt_token_ids?: number[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details: object;
  } | null;
  readonly error?: { readonly message: string; readonly param: string; readonly code: string };
}

let url: string;
let port: number;
const stop = new AbortController();
let running: Promise<void>;
let services: readonly Service[];

beforeAll(async () => {
  const argv = ['--model', 'tsukimi-demo-1m', '--host', '127.0.0.1', '--port', '0'];
  const instance = await createInstance(
    loadOptions(serveOptions, {
      argv: [...argv, '--threads', '1', '--max-num-seqs', '2', '--max-queue-len', '1'],
      env: {},
    }),
    {
      clock: new SystemClock(),
      random: new SeededRandom(1),
      logger: silentLogger,
      env: {},
      version: '1.2.3',
    },
  );
  services = instance.services;
  await new Promise<void>((resolve, reject) => {
    running = runServices(services, {
      until: stop.signal,
      stopDeadline: () => AbortSignal.abort(),
      onReady: resolve,
    });
    running.catch(reject);
  });
  port = instance.server.port;
  url = `http://127.0.0.1:${port}`;
});
afterAll(async () => {
  stop.abort();
  await running;
});

const model = 'tsukimi-demo-1m';
const story = { model, prompt: 'Once upon a time', max_tokens: 24, temperature: 0 };

function post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  return fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Request-Id': 'request-7' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...init,
  });
}

async function answer(path: string, body: unknown): Promise<Answer> {
  return (await (await post(path, body)).json()) as Answer;
}

async function stream(path: string, body: object): Promise<{ chunks: Answer[]; ended: boolean }> {
  const response = await post(path, { ...body, stream: true });
  expect(response.headers.get('content-type')).toContain('text/event-stream');
  const frames = new SseSplitter().push(Buffer.from(await response.arrayBuffer())).map(sseData);
  return {
    chunks: frames.slice(0, -1).map((data) => JSON.parse(String(data)) as Answer),
    ended: frames.at(-1) === '[DONE]',
  };
}

const textOf = (chunks: readonly Answer[]) =>
  chunks.map(({ choices }) => choices[0]?.text ?? choices[0]?.delta?.content ?? '').join('');
const idsOf = (chunks: readonly Answer[]) =>
  chunks.flatMap(({ choices }) => choices[0]?.token_ids ?? []);

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(name) && !one.startsWith('#'));
  return Number(line?.split(' ').at(-1));
}

describe('/v1/completions', () => {
  it('says the same streamed as whole', async () => {
    const whole = await answer('/v1/completions', story);
    expect(whole).toMatchObject({
      id: 'cmpl-request-7',
      object: 'text_completion',
      model,
      choices: [{ finish_reason: 'length' }],
      usage: { completion_tokens: 24 },
    });
    const streamed = await stream('/v1/completions', {
      ...story,
      stream_options: { include_usage: true },
    });
    expect(streamed.ended).toBe(true);
    expect(textOf(streamed.chunks)).toBe(whole.choices[0]?.text);
    expect(streamed.chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { completion_tokens: 24, prompt_tokens: whole.usage?.prompt_tokens },
    });
    expect(streamed.chunks.at(-2)?.choices[0]?.finish_reason).toBe('length');
  });

  it('takes token ids for a prompt and gives them back when asked', async () => {
    const { tokens } = (await (await post('/tokenize', { prompt: story.prompt })).json()) as {
      tokens: number[];
    };
    const [ofText, ofIds] = await Promise.all([
      answer('/v1/completions', { ...story, return_token_ids: true }),
      answer('/v1/completions', { ...story, prompt: tokens }),
    ]);
    expect(ofIds.choices[0]?.text).toBe(ofText.choices[0]?.text);
    expect(ofText.choices[0]?.prompt_token_ids).toEqual(tokens);
    const ids = ofText.choices[0]?.token_ids ?? [];
    expect(ids.length).toBe(24);
    const { prompt } = (await (await post('/detokenize', { tokens: ids })).json()) as {
      prompt: string;
    };
    expect(prompt.trim()).toBe(ofText.choices[0]?.text.trim());
  });

  it('continues what another instance has begun, wherever it was cut', async () => {
    for (const sampling of [{ temperature: 0 }, { temperature: 1, seed: 11, top_k: 20 }]) {
      const request = { ...story, ...sampling, return_token_ids: true };
      const { chunks } = await stream('/v1/completions', request);
      const cuts = chunks.length - 1;
      for (const cut of [1, 7, cuts - 1, cuts]) {
        const told = chunks.slice(0, cut);
        const resumed = await stream('/v1/completions', {
          ...request,
          tsukimi_resume: { output_token_ids: idsOf(told) },
          stream_options: { include_usage: true },
        });
        expect(textOf(told) + textOf(resumed.chunks), `cut after ${cut}`).toBe(textOf(chunks));
        expect([...idsOf(told), ...idsOf(resumed.chunks)]).toEqual(idsOf(chunks));
        expect(resumed.chunks.at(-1)?.usage?.completion_tokens).toBe(24);
      }
    }
  });

  it("tells the prefill instance's cached tokens, and its own beside them", async () => {
    const prompt = 'The cat sat on the mat. '.repeat(60);
    const first = await answer('/v1/completions', { ...story, prompt });
    expect(first.usage?.prompt_tokens_details).toEqual({ cached_tokens: 0 });
    const { usage } = await answer('/v1/completions', {
      ...story,
      prompt,
      tsukimi_prefill_cached_tokens: 3,
    });
    expect(usage?.prompt_tokens_details).toEqual({
      cached_tokens: 3,
      decode_loaded_tokens: (usage?.prompt_tokens ?? 0) - 1,
    });
  });

  it('frees the slot when the client leaves, and its neighbours go on', async () => {
    const before = await metric(
      'vllm:request_success_total{model_name="tsukimi-demo-1m",finished_reason="length"}',
    );
    const long = { ...story, max_tokens: 700, ignore_eos: true, stream: true };
    const leaving = new AbortController();
    const response = await post('/v1/completions', long, { signal: leaving.signal });
    await response.body?.getReader().read();
    expect(await metric('vllm:num_requests_running')).toBe(1);
    leaving.abort();
    await eventually(
      async () => (await metric('vllm:num_requests_running')) === 0,
      'the slot to be free',
    );
    const { choices } = await answer('/v1/completions', story);
    expect(choices[0]?.finish_reason).toBe('length');
    expect(
      await metric(
        'vllm:request_success_total{model_name="tsukimi-demo-1m",finished_reason="length"}',
      ),
    ).toBe(before + 1);
  });

  it('answers 503 and when to come back once slots and queue are full', async () => {
    const leaving = new AbortController();
    const long = { ...story, max_tokens: 700, ignore_eos: true };
    const held = Array.from({ length: 3 }, () =>
      post('/v1/completions', long, { signal: leaving.signal }).catch(() => null),
    );
    await eventually(
      async () => (await metric('vllm:num_requests_waiting')) === 1,
      'a request to wait',
    );
    const refused = await post('/v1/completions', story);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    leaving.abort();
    await Promise.all(held);
    await eventually(
      async () => (await metric('vllm:num_requests_running')) === 0,
      'the slots to be free',
    );
  });
});

describe('/v1/chat/completions', () => {
  const chat = {
    model,
    messages: [{ role: 'user', content: 'Tell me a story.' }],
    max_completion_tokens: 16,
    temperature: 0,
  };

  it('says the same streamed as whole, role first', async () => {
    const whole = await answer('/v1/chat/completions', chat);
    const { chunks, ended } = await stream('/v1/chat/completions', chat);
    expect(ended).toBe(true);
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '' });
    expect(textOf(chunks)).toBe(whole.choices[0]?.message?.content);
    expect(whole).toMatchObject({ object: 'chat.completion', id: 'chatcmpl-request-7' });
  });

  it('tells the role once, also across a resumption', async () => {
    const request = { ...chat, return_token_ids: true };
    const { chunks } = await stream('/v1/chat/completions', request);
    const told = chunks.slice(0, 5);
    const resumed = await stream('/v1/chat/completions', {
      ...request,
      tsukimi_resume: { output_token_ids: idsOf(told) },
    });
    expect(textOf(told) + textOf(resumed.chunks)).toBe(textOf(chunks));
    expect(JSON.stringify(resumed.chunks)).not.toContain('role');
    expect(told[0]?.prompt_token_ids?.length).toBeGreaterThan(0);
  });
});

describe('an instance', () => {
  it.each([
    ['another model', '/v1/completions', { ...story, model: 'gpt' }, 404, 'model', /gpt/],
    ['a bad field', '/v1/completions', { ...story, top_p: 7 }, 400, 'top_p', /top_p/],
    ['no JSON', '/v1/completions', '{"model":', 400, null, /JSON/],
    [
      'a prompt that is too long',
      '/v1/completions',
      { ...story, prompt: Array(5_000).fill(5) },
      400,
      'prompt',
      /\d+ tokens.*5000/,
    ],
    [
      'an answer that is too long',
      '/v1/completions',
      { ...story, max_tokens: 100_000 },
      400,
      'max_tokens',
      /max_tokens 100000/,
    ],
    ['a strange token', '/v1/completions', { ...story, prompt: [9e8] }, 400, 'prompt', /900000000/],
    ['an empty prompt', '/v1/completions', { ...story, prompt: [] }, 400, 'prompt', /at least one/],
    ['a body without end', '/tokenize', 'x'.repeat(2 ** 21), 413, null, /1048576 bytes/],
    ['an unknown path', '/v1/embeddings', {}, 404, null, /no \/v1\/embeddings/],
    ['a wrong method', '/v1/models', {}, 405, null, /GET/],
  ])("refuses %s in OpenAI's words", async (_, path, body, status, param, words) => {
    const response = await post(path, body);
    const { error } = (await response.json()) as Answer;
    expect([response.status, error?.param]).toEqual([status, param]);
    expect(error?.message).toMatch(words);
  });

  it('tells who it is', async () => {
    const get = async (path: string) => (await fetch(`${url}${path}`)).json();
    expect(await get('/v1/models')).toMatchObject({
      object: 'list',
      data: [{ id: model, owned_by: 'tsukimi' }],
    });
    expect(await get(`/v1/models/${model}`)).toMatchObject({ id: model });
    expect(await get('/version')).toEqual({ version: '1.2.3' });
    expect(await get('/tsukimi/instance')).toMatchObject({
      model,
      tensor_parallel_size: 1,
      kv_role: null,
      fingerprint: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
      pid: process.pid,
      engine_id: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    });
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect((await fetch(`${url}/ready`)).status).toBe(200);
  });

  it('tokenizes texts and chats', async () => {
    const ask = async (body: object) =>
      (await (await post('/tokenize', body)).json()) as { count: number; tokens: number[] };
    const ofPrompt = await ask({ prompt: 'Hello there' });
    expect(await ask({ content: 'Hello there' })).toEqual(ofPrompt);
    expect(ofPrompt.count).toBe(ofPrompt.tokens.length);
    const ofChat = await ask({ messages: [{ role: 'user', content: 'Hello there' }] });
    expect(ofChat.count).toBeGreaterThan(ofPrompt.count);
  });

  it('tells its numbers under the names of vLLM', async () => {
    expect(await metric('vllm:generation_tokens_total')).toBeGreaterThan(24);
    expect(await metric('vllm:prefix_cache_hits_total')).toBeGreaterThan(0);
    const text = await (await fetch(`${url}/metrics`)).text();
    expect(text).toMatch(/vllm:time_to_first_token_seconds_bucket\{[^}]*le="\+Inf"\} \d+/);
    for (const line of text.trimEnd().split('\n')) {
      expect(line).toMatch(/^(# (HELP|TYPE) \S+ .+|[a-z_:0-9]+(\{[^{}]*\})? -?[\d.e+-]+)$/);
    }
  });

  it('frees the slot of a client that never reads and hangs up', async () => {
    const body = JSON.stringify({ ...story, max_tokens: 1_500, ignore_eos: true, stream: true });
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    socket.pause();
    socket.write(
      `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    await eventually(
      async () => (await metric('vllm:num_requests_running')) === 1,
      'the request to run',
    );
    socket.destroy();
    await eventually(
      async () => (await metric('vllm:num_requests_running')) === 0,
      'the slot to be free',
    );
    expect((await answer('/v1/completions', story)).choices[0]?.finish_reason).toBe('length');
  });

  it('lives on after garbage on its port', async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.end('\0garbage\r\n\r\n'));
      socket.on('close', () => resolve());
      socket.on('error', () => {});
      socket.resume();
    });
    expect((await fetch(`${url}/health`)).status).toBe(200);
  });
});

describe('an instance that is told to stop', () => {
  it('finishes what it has begun and refuses what comes', async () => {
    const { services: own, server } = await createInstance(
      loadOptions(serveOptions, {
        argv: ['--model', model, '--host', '127.0.0.1', '--port', '0', '--threads', '1'],
        env: {},
      }),
      {
        clock: new SystemClock(),
        random: new SeededRandom(1),
        logger: silentLogger,
        env: {},
        version: '0',
      },
    );
    for (const service of own) await service.start();
    const { port: ownPort } = server;
    const body = JSON.stringify({ ...story, max_tokens: 200, ignore_eos: true, stream: true });
    const socket = connect(ownPort, '127.0.0.1');
    let received = '';
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
    });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const request = `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    socket.write(request);
    await eventually(() => received.includes('data: '), 'the stream to begin');
    const never = new AbortController().signal;
    const stopped = (async () => {
      for (const service of [...own].reverse()) await service.stop(never);
    })();
    // A second request on a connection that the server still holds.
    socket.write(request);
    await Promise.all([stopped, closed]);
    expect(received).toContain('data: [DONE]');
    expect(received.match(/HTTP\/1\.1 \d+/g)?.slice(1) ?? []).not.toContain('HTTP/1.1 200');
    await expect(fetch(`http://127.0.0.1:${ownPort}/health`)).rejects.toThrow();
  });
});
