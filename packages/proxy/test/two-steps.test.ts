import { eventually, FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { scriptedText } from '../src/testing.ts';
import { readStream, startCluster } from './cluster.ts';

const prompt = 'Once upon a time';
const text = scriptedText(JSON.stringify(prompt), 6);
const asked = { model: 'tsukimi-demo', prompt, max_tokens: 6 };

describe('a request in two steps', () => {
  it('prefills one token, then decodes the original body', async () => {
    await using cluster = await startCluster({ prefill: [{ cachedTokenCount: 512 }] });
    const body =
      '{"prompt":"Once upon a time","seed": 9223372036854775807,"n":1,"max_tokens":6,"min_tokens":4,' +
      '"best_of":1,"stream_options":null,"x":{"y":"\\u00e9"},"return_token_ids":false}';
    const response = await cluster.post(body, { headers: { 'x-request-id': 'mine' } });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-request-id')).toBe('mine');
    const answer = (await response.json()) as Record<string, never>;
    expect(answer).toMatchObject({
      choices: [{ text }],
      usage: { prompt_tokens_details: { cached_tokens: 512 } },
    });
    expect(cluster.sent('prefill').map((one) => one.text)).toEqual([
      '{"prompt":"Once upon a time","seed": 9223372036854775807,"x":{"y":"\\u00e9"},' +
        '"max_tokens":1,"stream":false,"n":1,"tsukimi_handover":true}',
    ]);
    expect(cluster.sent('decode').map((one) => one.text)).toEqual([
      `${body.slice(0, -1)},"tsukimi_prefill_cached_tokens":512}`,
    ]);
    expect(cluster.sent('decode')[0]?.headers['x-request-id']).toBe('mine');
  });

  it('streams events as they are, without the token ids that only the proxy wanted', async () => {
    await using cluster = await startCluster();
    const response = await cluster.post({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const seen = await readStream(response);
    expect(seen).toMatchObject({ text, done: true, finishReasons: ['length'], error: null });
    expect(seen.events.at(-1)).toMatchObject({ usage: { completion_tokens: 6 } });
    expect(
      seen.events.every((one) => !JSON.stringify(one['choices']).includes('"token_ids":[')),
    ).toBe(true);
    expect(cluster.sent('decode')[0]?.body).toMatchObject({ return_token_ids: true });
  });

  it('shows token ids to a client that asks for them', async () => {
    await using cluster = await startCluster();
    const body = { ...asked, stream: true, return_token_ids: true };
    const seen = await readStream(await cluster.post(body));
    expect(seen.raw.match(/,"token_ids":\[\d+\]\}/g)).toHaveLength(6);
  });

  it('serves chats, with both spellings of the token limit', async () => {
    await using cluster = await startCluster();
    const messages = [{ role: 'user', content: 'Hi' }];
    const response = await cluster.post(
      { messages, max_completion_tokens: 3, stream: true },
      { path: '/v1/chat/completions' },
    );
    const seen = await readStream(response);
    expect(seen).toMatchObject({ text: scriptedText(JSON.stringify(messages), 3), roles: 1 });
    expect(cluster.sent('prefill')[0]?.body).toMatchObject({
      max_tokens: 1,
      max_completion_tokens: 1,
    });
  });

  it('asks nothing of its own from other engines', async () => {
    await using cluster = await startCluster({
      prefill: [{ ours: false }],
      decode: [{ ours: false }],
    });
    const seen = await readStream(await cluster.post({ ...asked, stream: true }));
    expect(seen).toMatchObject({ text, done: true });
    const sent = [...cluster.sent('prefill'), ...cluster.sent('decode')].map((one) => one.text);
    expect(sent.join()).not.toContain('tsukimi_');
  });

  it('takes turns among the instances of each kind', async () => {
    await using cluster = await startCluster({ prefill: [{}, {}], decode: [{}, {}, {}] });
    for (let count = 0; count < 6; count += 1) await (await cluster.post(asked)).text();
    expect(cluster.prefill.map(({ requests }) => requests.length)).toEqual([3, 3]);
    expect(cluster.decode.map(({ requests }) => requests.length)).toEqual([2, 2, 2]);
  });

  it("sends the client's key upstream, else its own", async () => {
    await using cluster = await startCluster({ env: { OPENAI_API_KEY: 'own' } });
    await (await cluster.post(asked)).text();
    await (await cluster.post(asked, { headers: { authorization: 'Bearer client' } })).text();
    const keys = cluster.sent('decode').map(({ headers }) => headers.authorization);
    expect(keys).toEqual(['Bearer own', 'Bearer client']);
  });

  it('keeps one connection for requests one after another', async () => {
    await using cluster = await startCluster();
    for (let count = 0; count < 5; count += 1) {
      const seen = await readStream(await cluster.post({ ...asked, stream: true }));
      expect(seen.done).toBe(true);
    }
    const metrics = await (await fetch(`${cluster.url}/metrics`)).text();
    // One for requests; starting asks two things at once.
    expect(metrics).toMatch(/^tsukimi_proxy_upstream_connections [24]$/m);
    expect(metrics).toContain('requests_total{endpoint="/v1/completions",status="200"} 5');
    expect(metrics).toMatch(/stage_seconds_count\{stage="prefill"\} 5/);
  });

  it('stops reading from the instance while the client does not read', async () => {
    await using cluster = await startCluster();
    const response = await cluster.post({ ...asked, max_tokens: 50_000, stream: true });
    const reader = response.body?.getReader();
    let length = (await reader?.read())?.value?.length ?? 0;
    // Nothing of it is kept in the proxy but what its sockets hold.
    const [instance] = cluster.proxy.pool.up('decode');
    await eventually(() => cluster.proxy.admission.activeCount === 1, 'the stream to wait');
    expect(instance?.activeRequestCount).toBe(1);
    for (;;) {
      const piece = await reader?.read();
      if (piece === undefined || piece.done) break;
      length += piece.value.length;
    }
    expect(length).toBeGreaterThan(5_000_000);
  });

  it('calls off whichever leg is running when the client leaves', async () => {
    for (const kind of ['prefill', 'decode'] as const) {
      const hang = { fate: () => ({ kind: 'hang' }) as const };
      await using cluster = await startCluster({ [kind]: [hang] });
      const leaving = new AbortController();
      const response = cluster.post(asked, { signal: leaving.signal });
      const sent = await eventually(() => cluster.sent(kind)[0], `the ${kind} leg`);
      leaving.abort();
      await expect(response).rejects.toThrow(/abort/);
      await eventually(() => sent.aborted, `the ${kind} instance to see it`);
      if (kind === 'prefill') expect(cluster.sent('decode')).toEqual([]);
    }
  });

  it('queues what is beyond its limit and refuses what is beyond its queue', async () => {
    const clock = new FakeClock();
    await using cluster = await startCluster({
      decode: [{ fate: () => ({ kind: 'hang' }) }],
      argv: ['--in-flight-max', '1', '--queue-max', '1'],
      clock,
    });
    const leaving = new AbortController();
    const first = cluster.post(asked, { signal: leaving.signal });
    await eventually(() => cluster.sent('decode')[0], 'the first request');
    const second = cluster.post(asked);
    await eventually(() => cluster.proxy.admission.queueLength === 1, 'the second to wait');
    const third = await cluster.post(asked);
    expect(third.status).toBe(503);
    expect(third.headers.get('retry-after')).toBe('1');
    for (const one of cluster.decode) one.fate = () => ({ kind: 'serve' });
    leaving.abort();
    await expect(first).rejects.toThrow();
    expect((await second).status).toBe(200);
  });
});
