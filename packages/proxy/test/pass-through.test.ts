import { describe, expect, it } from 'vitest';
import type { ScriptedRequest } from '../src/testing.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { nixlEngines, sglangEngines } from './pd-engines.ts';

const foreign = { ours: false };
const seed = '"seed": 9223372036854775807';

async function counts(cluster: Cluster): Promise<[number, number]> {
  return [cluster.sent('prefill').length, cluster.sent('decode').length];
}

/** An instance whose decode leg streams `frames`. */
const streaming = (frames: string) => ({
  ...foreign,
  answer: ({ body }: ScriptedRequest) => (body['stream'] === true ? frames : null),
});

describe('the APIs that generate', () => {
  it.each([
    ['/v1/responses', 'max_output_tokens', '"store":false'],
    ['/v1/messages', 'max_tokens', '"stream":false'],
  ])(
    '%s is prefilled with one token of it, then decoded as it came',
    async (path, limit, other) => {
      const { prefill, decode } = nixlEngines();
      await using cluster = await startCluster({ prefill: [prefill], decode: [decode] });
      const body = `{"input":"Hi","prompt":"Hi",${seed},"${limit}":9}`;
      const response = await cluster.post(body, { path });
      expect(response.status, await response.text()).toBe(200);
      const [first] = cluster.sent('prefill');
      const [second] = cluster.sent('decode');
      expect([first?.path, second?.path]).toEqual([path, path]);
      expect(first?.body[limit]).toBe(1);
      for (const part of [seed, other, '"do_remote_decode":true'])
        expect(first?.text).toContain(part);
      expect(second?.body[limit]).toBe(9);
      for (const part of [seed, '"remote_request_id":"req-1"'])
        expect(second?.text).toContain(part);
    },
  );

  const delta = 'event: x.delta\ndata: {"type":"x.delta","delta":"event: message_stop\\n"}\n\n';
  const ends: [string, string][] = [
    ['/v1/responses', 'event: response.completed\ndata: {"type":"response.completed"}\n\n'],
    ['/v1/responses', 'event: response.incomplete\ndata: {"type":"response.incomplete"}\n\n'],
    ['/v1/messages', 'event: message_stop\ndata: {"type":"message_stop"}\n\n'],
  ];

  it.each(ends)('%s streams until its own last event', async (path, end) => {
    await using cluster = await startCluster({
      prefill: [foreign],
      decode: [streaming(delta + delta + end)],
    });
    const response = await cluster.post({ input: 'Hi', stream: true }, { path });
    expect(await response.text()).toBe(delta + delta + end);
  });

  it.each([
    ['/v1/responses', '{"type":"error","code":"stream_broken","message":'],
    ['/v1/messages', '{"type":"error","error":{"type":"api_error","message":'],
  ])('%s tells of a broken stream in its own form', async (path, error) => {
    await using cluster = await startCluster({ prefill: [foreign], decode: [streaming(delta)] });
    const response = await cluster.post({ input: 'Hi', stream: true }, { path });
    const text = await response.text();
    expect(text.startsWith(`${delta}event: error\ndata: ${error}`), text).toBe(true);
  });
});

describe('what does not generate', () => {
  it.each(['/v1/embeddings', '/tokenize', '/detokenize', '/v1/messages/count_tokens'])(
    '%s goes to one instance as it is',
    async (path) => {
      await using cluster = await startCluster({ prefill: [foreign], decode: [foreign] });
      const body = `{"input":["a"],${seed},"x":{"y":"\\u00e9"}}`;
      const response = await cluster.post(body, { path });
      expect(response.status).toBe(200);
      await response.text();
      expect(await counts(cluster)).toEqual([0, 1]);
      expect(cluster.sent('decode')[0]).toMatchObject({ path, text: body });
      const metrics = await (await fetch(`${cluster.url}/metrics`)).text();
      expect(metrics).toContain(`requests_total{endpoint="${path}",status="200"} 1`);
      expect(metrics).not.toMatch(/prefill_skipped_total\{/);
    },
  );

  it('goes to another instance when one fails', async () => {
    const failing = { ...foreign, fate: () => ({ kind: 'status', status: 503 }) as const };
    await using cluster = await startCluster({ prefill: [foreign], decode: [failing] });
    expect((await cluster.post({ input: 'a' }, { path: '/v1/embeddings' })).status).toBe(200);
    expect(await counts(cluster)).toEqual([1, 1]);
  });

  it('needs no partner where generation does', async () => {
    const { decode } = sglangEngines();
    const alone = { ...foreign, tells: decode.tells ?? {} };
    await using cluster = await startCluster({ prefill: [], decode: [alone] });
    expect((await cluster.post({ prompt: 'a' }, { path: '/tokenize' })).status).toBe(200);
  });
});

describe('--pass-through', () => {
  it('opens paths, and no others', async () => {
    await using cluster = await startCluster({
      prefill: [foreign],
      decode: [foreign],
      argv: ['--pass-through', '/v1/rerank,/score', '--pass-through', '/generate'],
    });
    for (const path of ['/v1/rerank', '/score', '/generate']) {
      const response = await cluster.post({ text: 'a' }, { path });
      expect(response.status).toBe(200);
      await response.text();
    }
    expect(await counts(cluster)).toEqual([1, 3]);
    expect(cluster.sent('prefill')[0]).toMatchObject({
      path: '/generate',
      body: { sampling_params: { max_new_tokens: 1 } },
    });
    for (const path of ['/inference/v1/generate', '/v1/rerank/x', '/metrics/x']) {
      expect((await cluster.post({}, { path })).status).toBe(404);
    }
    expect((await fetch(`${cluster.url}/v1/rerank`)).status).toBe(405);
  });

  it('refuses what is no path, and paths that the proxy answers itself', async () => {
    for (const path of ['rerank', '/a?b', '/v1/"x', '/', '/status']) {
      await expect(startCluster({ argv: ['--pass-through', path] })).rejects.toThrow(path);
    }
  });
});
