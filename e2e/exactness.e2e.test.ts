import { eventually } from '@tsukimi/base/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask } from './client.ts';
import { Cluster } from './cluster.ts';
import { LoneInstance } from './lone.ts';
import { sized } from './processes.ts';
import { corpusTokens, cutPrompts, mapConcurrently } from './prompts.ts';
import { TwoHosts } from './two-hosts.ts';

const model = sized({ smoke: 'tsukimi-demo-1m', full: 'tsukimi-demo' });
const promptCount = sized({ smoke: 10, full: 50 });

let lone: LoneInstance;
let corpus: number[];
let bodies: Record<string, unknown>[];
let expected: string[];

beforeAll(async () => {
  lone = await LoneInstance.start(model);
  corpus = await corpusTokens(lone.url);
  bodies = cutPrompts(corpus, { count: promptCount, from: 20, to: 1_500 }).map((prompt, index) => ({
    ...{ model, prompt, max_tokens: 40, temperature: 0, stream: index % 2 === 1 },
  }));
  expected = await lone.texts(bodies);
}, 300_000);

afterAll(() => lone[Symbol.asyncDispose]());

/** Eight at a time; every text must be the lone instance's, and decode must have loaded all but one token. */
async function expectExact(cluster: Cluster): Promise<void> {
  const answers = await mapConcurrently(bodies, 8, (body) => ask(cluster.url, body));
  expect(answers.map(({ failure }) => failure)).toEqual(bodies.map(() => null));
  expect(answers.map(({ text }) => text)).toEqual(expected);
  const loaded = answers.map(
    ({ usage }) => usage?.prompt_tokens_details?.decode_loaded_tokens ?? -1,
  );
  expect(loaded).toEqual(bodies.map(({ prompt }) => (prompt as number[]).length - 1));
}

describe('KV that travels through the store', () => {
  it('gives, token for token, the text of one instance alone; shared memory', async () => {
    await using cluster = await Cluster.start({ model });
    await expectExact(cluster);
  });

  it('gives the same over TCP', async () => {
    await using cluster = await Cluster.start({ model, serveArgs: ['--no-shared-memory'] });
    await expectExact(cluster);
  });

  it('adds exactly the new chunks to the master, and loads prompt tokens - 1', async () => {
    await using cluster = await Cluster.start({ model });
    const [prompt] = cutPrompts(corpus, { count: 1, from: 1_000, to: 1_000 });
    const body = { model, prompt, max_tokens: 8, temperature: 0 };
    const before = await cluster.metric('master_key_count');
    const first = await ask(cluster.url, body);
    expect(first.usage?.prompt_tokens_details).toEqual({
      cached_tokens: 0,
      decode_loaded_tokens: 999,
    });
    // Three whole chunks of 256 and one of 232.
    expect(await cluster.metric('master_key_count')).toBe(before + 4);

    const second = await ask(cluster.url, body);
    expect(second.usage?.prompt_tokens_details).toEqual({
      cached_tokens: 999,
      decode_loaded_tokens: 999,
    });
    expect(second.text).toBe(first.text);
    expect(await cluster.metric('master_key_count')).toBe(before + 4);
  });

  it('finds the whole chunks of a shared prefix, whichever prefill instance computed them', async () => {
    await using cluster = await Cluster.start({ model });
    const shared = corpus.slice(0, 700);
    const asked = [5_000, 6_000, 7_000].map((at) => [...shared, ...corpus.slice(at, at + 200)]);
    const cached: (number | undefined)[] = [];
    for (const prompt of asked) {
      const answer = await ask(cluster.url, { model, prompt, max_tokens: 4, temperature: 0 });
      cached.push(answer.usage?.prompt_tokens_details?.cached_tokens);
    }
    // Round robin: the second request goes to the prefill instance that has computed nothing yet.
    expect(cached).toEqual([0, 512, 512]);
  });

  it('is counted on before the choice, where the instance that computed it has left', async () => {
    await using cluster = await Cluster.start({ model, proxyArgs: ['--scheduling', 'kv_aware'] });
    const shared = corpus.slice(0, 1_200);
    const lastPrefill = async (at: number) => {
      const prompt = [...shared, ...corpus.slice(at, at + 100)];
      const answer = await ask(cluster.url, { model, prompt, max_tokens: 4, temperature: 0 });
      const { decisions } = (await (await fetch(`${cluster.url}/status/decisions`)).json()) as {
        decisions: readonly { leg: string; chosen: string; reason: string }[];
      };
      const decision = decisions.find(({ leg }) => leg === 'prefill');
      return { decision, cached: answer.usage?.prompt_tokens_details?.cached_tokens };
    };
    const first = await lastPrefill(5_000);
    expect(first).toMatchObject({ decision: { reason: 'least_wait' }, cached: 0 });
    const removed = await fetch(`${cluster.url}/instances/remove`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': cluster.adminKey },
      body: JSON.stringify({ type: 'prefill', instance: first.decision?.chosen }),
    });
    expect(removed.status).toBe(200);
    const second = await lastPrefill(6_000);
    expect(second).toMatchObject({ decision: { reason: 'stored_prefix' }, cached: 1_024 });
    expect(second.decision?.chosen).not.toBe(first.decision?.chosen);
  });

  it('remembers, in a kv_both instance, what it generated in the last turn of a chat', async () => {
    await using cluster = await Cluster.start({ model, prefill: 0, decode: 1 });
    cluster.addInstance('both-0', 'kv_both');
    await cluster.readyInstance('both-0');
    const url = cluster.instanceUrl('both-0');
    const chat = { path: '/v1/chat/completions' } as const;
    const opening = { role: 'user', content: 'Tell me a story about a fox who lost a red kite.' };
    const first = await ask(
      url,
      { model, messages: [opening], max_tokens: 200, temperature: 0 },
      chat,
    );
    expect(first.failure).toBeNull();
    // The answer does not wait for the store: one key for the prompt, one for prompt and answer.
    await eventually(
      async () => (await cluster.metric('master_key_count')) >= 2,
      'the first turn to be stored',
    );
    const second = await ask(
      url,
      {
        ...{ model, max_tokens: 20, temperature: 0 },
        messages: [
          opening,
          { role: 'assistant', content: first.text },
          { role: 'user', content: 'Who lost the kite?' },
        ],
      },
      chat,
    );
    const cached = second.usage?.prompt_tokens_details?.cached_tokens ?? 0;
    const firstTurn = (first.usage?.prompt_tokens ?? 0) + (first.usage?.completion_tokens ?? 0);
    expect(first.usage?.completion_tokens).toBeGreaterThan(50);
    // All of the first turn but the last piece, shorter than the 16 tokens that tails are rounded to.
    expect(cached).toBeGreaterThan(firstTurn - 18);
  });
});

describe('two hosts', () => {
  it('hands KV from one network namespace to the other over TCP', async () => {
    const few = bodies
      .map((body, index) => ({ body: { ...body, stream: false }, text: expected[index] }))
      .filter((_, index) => index % 3 === 0);
    await using hosts = TwoHosts.start(model);

    const { answers } = await hosts.ask(few.map(({ body }) => body));

    expect(answers.map(({ body }) => body.choices[0]?.text)).toEqual(few.map(({ text }) => text));
    expect(
      answers.map(({ body }) => body.usage.prompt_tokens_details.decode_loaded_tokens),
    ).toEqual(
      few.map(({ body }) => ((body as Record<string, unknown>)['prompt'] as number[]).length - 1),
    );
  });
});
