import { eventually } from '@tsukimi/base/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, ask } from './client.ts';
import { Cluster } from './cluster.ts';
import { LoneInstance } from './lone.ts';
import { sized } from './processes.ts';
import { corpusTokens, cutPrompts, mapConcurrently } from './prompts.ts';

const model = 'tsukimi-demo-1m';
const roundCount = sized({ smoke: 1, full: 5 });

let lone: LoneInstance;
let corpus: number[];

beforeAll(async () => {
  lone = await LoneInstance.start(model);
  corpus = await corpusTokens(lone.url);
});

afterAll(() => lone[Symbol.asyncDispose]());

const streams = (seed: number, maxTokens: number) =>
  cutPrompts(corpus.slice(seed * 3_000), { count: 8, from: 60, to: 700 }).map((prompt) => ({
    ...{ model, prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true, stream: true },
  }));

const failuresOf = (answers: readonly Answer[]) =>
  answers.map(({ failure }) => failure).filter((failure) => failure !== null);

describe('a dead master, then a dead metadata server', () => {
  it('fails no request, and KV is shared again once they are back', async () => {
    await using cluster = await Cluster.start({ model });
    let prompt = 0;
    const fresh = () => {
      prompt = (prompt + 911) % 20_000;
      return corpus.slice(prompt, prompt + 300);
    };
    for (const name of ['master', 'metadata']) {
      let stop = false;
      const answers: Answer[] = [];
      const clients = Promise.all(
        Array.from({ length: 8 }, async () => {
          while (!stop) {
            answers.push(
              await ask(cluster.url, { model, prompt: fresh(), max_tokens: 4, temperature: 0 }),
            );
          }
        }),
      );
      await eventually(() => answers.length > 16, 'traffic');
      await cluster.kill(name);
      const before = answers.length;
      await eventually(() => answers.length > before + 24, `answers without ${name}`, 60_000);
      cluster.restart(name);
      await eventually(() => answers.length > before + 48, `answers after ${name}`, 60_000);
      stop = true;
      await clients;
      expect(failuresOf(answers)).toEqual([]);
    }
    await eventually(
      async () => {
        const answer = await ask(cluster.url, {
          model,
          prompt: fresh(),
          max_tokens: 4,
          temperature: 0,
        });
        return answer.usage?.prompt_tokens_details?.decode_loaded_tokens === 299;
      },
      'KV to be shared again',
      30_000,
    );
  });
});

describe('instances killed in the middle of streams', () => {
  it('loses no request and changes no token', async () => {
    await using cluster = await Cluster.start({ model });
    for (let round = 0; round < roundCount; round++) {
      const bodies = streams(round, 300);
      const expected = await lone.texts(bodies);
      const events = bodies.map(() => 0);
      const asked = mapConcurrently(bodies, 8, (body, index) =>
        ask(cluster.url, body, { onEvent: () => void (events[index] = (events[index] ?? 0) + 1) }),
      );
      await eventually(() => events.some((count) => count > 20), 'streams under way');
      await cluster.kill('decode-0');
      await cluster.kill('prefill-0');
      const answers = await asked;
      expect(failuresOf(answers)).toEqual([]);
      expect(answers.map(({ text }) => text)).toEqual(expected);
      expect(answers.map(({ usage }) => usage?.completion_tokens)).toEqual(bodies.map(() => 300));
      cluster.restart('decode-0');
      cluster.restart('prefill-0');
      await cluster.readyInstance('decode-0');
      await cluster.readyInstance('prefill-0');
    }
    const revived = async (name: string) => {
      await ask(cluster.url, { model, prompt: corpus.slice(0, 40), max_tokens: 1, temperature: 0 });
      return (await cluster.metric('vllm:generation_tokens_total', cluster.instanceUrl(name))) > 0;
    };
    await eventually(() => revived('decode-0'), 'the revived decode instance to be used', 20_000);
    await eventually(() => revived('prefill-0'), 'the revived prefill instance to be used', 20_000);
  });

  it('resumes a seeded stream exactly', async () => {
    await using cluster = await Cluster.start({ model });
    const body = {
      ...{ model, prompt: corpus.slice(100, 160), max_tokens: 300, ignore_eos: true },
      ...{ temperature: 0.9, top_p: 0.95, seed: 42, stream: true, presence_penalty: 0.5 },
    };
    const undisturbed = await ask(cluster.url, body);
    expect(undisturbed.failure).toBeNull();
    let events = 0;
    const asked = ask(cluster.url, body, { onEvent: () => void events++ });
    await eventually(() => events > 30, 'the stream under way');
    const status = (await (await fetch(`${cluster.url}/status`)).json()) as {
      instances: { kind: string; address: string; active_requests: number }[];
    };
    const busy = status.instances.findIndex(
      ({ kind, active_requests }) => kind === 'decode' && active_requests > 0,
    );
    const address = status.instances[busy]?.address ?? '';
    const name = cluster.instanceNames.find((candidate) =>
      cluster.instanceUrl(candidate).endsWith(address.slice(address.lastIndexOf(':'))),
    );
    await cluster.kill(name as string);
    expect((await asked).text).toBe(undisturbed.text);
  });

  it('serves with one kind alone, and answers 503 with Retry-After when both are gone', async () => {
    await using cluster = await Cluster.start({ model, prefill: 1, decode: 1 });
    const body = { model, prompt: corpus.slice(0, 100), max_tokens: 10, temperature: 0 };
    const [expected] = await lone.texts([body]);
    await cluster.kill('prefill-0');
    expect((await ask(cluster.url, body)).text).toBe(expected);
    cluster.restart('prefill-0');
    await cluster.readyInstance('prefill-0');
    await cluster.kill('decode-0');
    expect((await ask(cluster.url, body)).text).toBe(expected);
    await cluster.kill('prefill-0');
    const refused = await fetch(`${cluster.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ error: { message: expect.any(String) } });
    cluster.restart('decode-0');
    await cluster.readyInstance('decode-0');
    const revived = await eventually(async () => {
      const answer = await ask(cluster.url, body);
      return answer.failure === null && answer;
    }, 'the proxy to use the revived instance');
    expect(revived.text).toBe(expected);
  });
});
