import { eventually } from '@tsukimi/base/testing';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask } from './client.ts';
import { Cluster } from './cluster.ts';
import { LoneInstance } from './lone.ts';
import { freePorts, sized, untilReady } from './processes.ts';
import { corpusTokens, cutPrompts, mapConcurrently } from './prompts.ts';

const model = 'tsukimi-demo-1m';

let lone: LoneInstance;
let corpus: number[];
let cluster: Cluster;

beforeAll(async () => {
  lone = await LoneInstance.start(model);
  corpus = await corpusTokens(lone.url);
  cluster = await Cluster.start({ model });
});

afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await lone[Symbol.asyncDispose]();
});

const post = (url: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });

describe('the OpenAI API through the proxy', () => {
  const prompt = 'Once upon a time there was a fox who';
  const messages = [{ role: 'user' as const, content: 'Tell me a story about a red kite.' }];
  const openai = () => new OpenAI({ baseURL: `${cluster.url}/v1`, apiKey: 'any', maxRetries: 0 });

  it('serves completions to the openai client, streaming and not, with the same text', async () => {
    const body = { model, prompt, max_tokens: 24, temperature: 0 };
    const whole = await openai().completions.create(body);
    expect(whole.choices[0]?.text.length).toBeGreaterThan(10);
    expect(whole.choices[0]?.finish_reason).toBe('length');
    expect(whole.usage?.completion_tokens).toBe(24);
    expect(whole.usage?.total_tokens).toBe((whole.usage?.prompt_tokens ?? 0) + 24);

    const stream = await openai().completions.create({ ...body, stream: true });
    let text = '';
    let finishReason: string | null = null;
    for await (const { choices } of stream) {
      text += choices[0]?.text ?? '';
      finishReason = choices[0]?.finish_reason ?? finishReason;
    }
    expect([text, finishReason]).toEqual([whole.choices[0]?.text, 'length']);
  });

  it('serves chats to the openai client, streaming and not, with the same text', async () => {
    const body = { model, messages, max_tokens: 24, temperature: 0 };
    const whole = await openai().chat.completions.create(body);
    expect(whole.choices[0]?.message.role).toBe('assistant');
    expect(whole.choices[0]?.message.content?.length).toBeGreaterThan(10);

    const stream = await openai().chat.completions.create({
      ...{ ...body, stream: true },
      stream_options: { include_usage: true },
    });
    let text = '';
    let usage: unknown = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(whole.choices[0]?.message.content);
    expect(usage).toMatchObject({
      prompt_tokens: whole.usage?.prompt_tokens,
      completion_tokens: whole.usage?.completion_tokens,
    });
  });

  it('lists the model', async () => {
    const ids: string[] = [];
    for await (const { id } of openai().models.list()) ids.push(id);
    expect(ids).toEqual([model]);
  });

  it('ends a raw stream in [DONE]', async () => {
    const response = await post(`${cluster.url}/v1/completions`, {
      ...{ model, prompt, max_tokens: 5, stream: true },
    });
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const text = await response.text();
    expect(text.endsWith('\n\ndata: [DONE]\n\n')).toBe(true);
    for (const frame of text.split('\n\n').slice(0, -2)) {
      expect(JSON.parse(frame.replace('data: ', ''))).toMatchObject({ model });
    }
  });

  it('refuses what is wrong in the shape of OpenAI', async () => {
    const tooLong = corpus.slice(0, 3_000);
    const cases = [
      [404, /no-such-model/, { model: 'no-such-model', prompt }],
      [400, /temperature/, { model, prompt, temperature: 'hot' }],
      [400, /max_tokens/, { model, prompt, max_tokens: -1 }],
      [400, /3000|3,000/, { model, prompt: tooLong, max_tokens: 5 }],
    ] as const;
    for (const [status, message, body] of cases) {
      for (const stream of [false, true]) {
        const response = await post(`${cluster.url}/v1/completions`, { ...body, stream });
        const json = (await response.json()) as { error: { message: string } };
        expect([response.status, json.error.message]).toEqual([
          status,
          expect.stringMatching(message),
        ]);
        expect(json).toMatchObject({ error: { type: expect.any(String) } });
      }
    }
    await expect(
      openai().chat.completions.create({ model: 'no-such-model', messages }),
    ).rejects.toBeInstanceOf(OpenAI.NotFoundError);
  });
});

describe('instances added at run time', () => {
  const add = (url: string, type: string, instance: string, key: string | null) =>
    post(`${url}/instances/add`, { type, instance }, key === null ? {} : { 'x-api-key': key }).then(
      async (response) => ({ status: response.status, body: await response.json() }),
    );

  it('asks for the key, and refuses an instance that cannot be reached, with the reason', async () => {
    const free = await freePorts(2);
    const nobody = `127.0.0.1:${free}`;
    expect(await add(cluster.url, 'prefill', nobody, null)).toMatchObject({
      status: 422,
      body: { detail: [{ type: 'missing', loc: ['header', 'x-api-key'] }] },
    });
    expect(await add(cluster.url, 'prefill', nobody, 'wrong')).toEqual({
      status: 403,
      body: { detail: 'Forbidden: Invalid API Key.' },
    });
    expect(await add(cluster.url, 'prefill', nobody, cluster.adminKey)).toEqual({
      status: 400,
      body: {
        detail: 'Instance validation failed.',
        reason: expect.stringMatching(new RegExp(`${free}`)),
      },
    });

    const url = `http://127.0.0.1:${free + 1}`;
    const keyless = cluster.processes.start(
      [
        ...['proxy', '--model', model, '--host', '127.0.0.1', '--port', String(free + 1)],
        ...['--decode', cluster.instanceUrl('decode-0').slice('http://'.length)],
      ],
      { prefix: ['env', '-u', 'ADMIN_API_KEY'] },
    );
    await untilReady(`${url}/ready`, keyless);
    expect(await add(url, 'prefill', nobody, 'any')).toEqual({
      status: 500,
      body: { detail: 'Server configuration error.' },
    });
  });

  it('gives them traffic', async () => {
    cluster.addInstance('prefill-2', 'kv_producer');
    cluster.addInstance('decode-2', 'kv_consumer');
    for (const [kind, name] of [
      ['prefill', 'prefill-2'],
      ['decode', 'decode-2'],
    ] as const) {
      await cluster.readyInstance(name);
      const address = cluster.instanceUrl(name).slice('http://'.length);
      expect(await add(cluster.url, kind, address, cluster.adminKey)).toEqual({
        status: 200,
        body: { message: `Added ${address} to ${kind}_instances.` },
      });
      expect(await add(cluster.url, kind, address, cluster.adminKey)).toEqual({
        status: 400,
        body: { detail: 'Instance already exists.' },
      });
    }
    expect(await (await fetch(`${cluster.url}/status`)).json()).toMatchObject({
      prefill_node_count: 3,
      decode_node_count: 3,
      warnings: [],
    });
    const prompts = cutPrompts(corpus, { count: 6, from: 100, to: 300 });
    const bodies = prompts.map((prompt) => ({ model, prompt, max_tokens: 8, temperature: 0 }));
    const answers = await mapConcurrently(bodies, 2, (body) => ask(cluster.url, body));
    expect(answers.map(({ text }) => text)).toEqual(await lone.texts(bodies));
    const counted = (metric: string, name: string) =>
      cluster.metric(metric, cluster.instanceUrl(name));
    // Round robin over three: each prefill instance had two of the six prompts.
    expect(await counted('tsukimi_prefill_tokens_total', 'prefill-2')).toBeGreaterThan(200);
    expect(await counted('vllm:generation_tokens_total', 'decode-2')).toBeGreaterThan(8);
  });

  it('shows in /status that an instance with another tensor_parallel_size shares no KV', async () => {
    cluster.addInstance('prefill-3', 'kv_producer', ['-tp', '2']);
    await cluster.readyInstance('prefill-3');
    const address = cluster.instanceUrl('prefill-3').slice('http://'.length);
    expect(await add(cluster.url, 'prefill', address, cluster.adminKey)).toMatchObject({
      status: 200,
    });
    const { warnings } = await eventually(async () => {
      const status = (await (await fetch(`${cluster.url}/status`)).json()) as {
        warnings: string[];
      };
      return status.warnings.length > 0 && status;
    }, 'a warning');
    expect(warnings[0]).toMatch(/^tensor_parallel_size differs, so these never share KVCache: /);
    expect(warnings[0]).toContain(`2 (${address})`);

    const body = { model, prompt: corpus.slice(9_000, 9_600), max_tokens: 4, temperature: 0 };
    const [expected] = await lone.texts([body]);
    const cached: (number | undefined)[] = [];
    for (const name of ['prefill-0', 'prefill-3', 'prefill-3']) {
      const answer = await ask(cluster.instanceUrl(name), body);
      expect(answer.text).toBe(expected);
      cached.push(answer.usage?.prompt_tokens_details?.cached_tokens);
    }
    expect(cached).toEqual([0, 0, 599]);
  });
});

describe('many instances on one mooncake.json', () => {
  it('answer, each asked directly, as a lone server does', async () => {
    const count = sized({ smoke: 2, full: 4 });
    await using many = await Cluster.start({ model, prefill: count, decode: count });
    const bodies = cutPrompts(corpus.slice(2_000), { count: 4, from: 30, to: 900 }).map(
      (prompt) => ({ model, prompt, max_tokens: 24, temperature: 0 }),
    );
    const expected = await lone.texts(bodies);
    expect(many.instanceNames).toHaveLength(2 * count);
    for (const name of many.instanceNames) {
      const answers = await mapConcurrently(bodies, 4, (body) => ask(many.instanceUrl(name), body));
      expect([name, ...answers.map(({ text }) => text)]).toEqual([name, ...expected]);
    }
  });
});
