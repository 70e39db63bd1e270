import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import type { ShownDecision } from '../src/telemetry/decision-log.ts';
import { usageIn } from '../src/telemetry/usage.ts';
import { type Cluster, readStream, startCluster } from './cluster.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 4 };
const down = { fate: () => ({ kind: 'status', status: 500 }) as const };

async function samplesOf(cluster: Cluster): Promise<Map<string, number>> {
  const text = await (await fetch(`${cluster.url}/metrics`)).text();
  return new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const at = line.lastIndexOf(' ');
        return [line.slice('tsukimi_proxy_'.length, at), Number(line.slice(at + 1))];
      }),
  );
}

async function decisionsOf(cluster: Cluster): Promise<ShownDecision[]> {
  const answer = await (await fetch(`${cluster.url}/status/decisions`)).json();
  return (answer as { decisions: ShownDecision[] }).decisions;
}

describe('/metrics', () => {
  it('tells the stages of requests, their tokens and what failed', async () => {
    await using cluster = await startCluster({ decode: [{ cachedTokenCount: 3 }] });
    await readStream(await cluster.post({ ...asked, stream: true }));
    await (await cluster.post(asked)).text();
    await cluster.post('not JSON');
    await eventually(async () => {
      const samples = await samplesOf(cluster);
      return samples.get('requests_total{endpoint="/v1/completions",status="400"}') === 1;
    }, 'the end of all requests');
    const samples = await samplesOf(cluster);
    expect(samples.get('requests_total{endpoint="/v1/completions",status="200"}')).toBe(2);
    for (const stage of ['queue', 'prefill', 'decode']) {
      expect([stage, samples.get(`stage_seconds_count{stage="${stage}"}`)]).toEqual([stage, 2]);
    }
    expect(samples.get('stage_seconds_count{stage="decode_first_byte"}')).toBe(1);
    expect(samples.get('time_to_first_token_seconds_count')).toBe(1);
    expect(samples.get('time_per_output_token_seconds_count')).toBe(1);
    expect(samples.get('request_duration_seconds_count')).toBe(2);
    expect(samples.get('overhead_seconds_bucket{le="+Inf"}')).toBe(2);
    expect(samples.get('output_tokens_total')).toBe(8);
    const [decode] = cluster.decode;
    const labels = `{kind="decode",instance="${decode?.address}"}`;
    expect(samples.get(`instance_up${labels}`)).toBe(1);
    expect(samples.get(`instance_breaker_state${labels}`)).toBe(0);
    expect(samples.get(`instance_requests_total${labels}`)).toBe(2);
    expect(samples.get(`instance_resident_tokens${labels}`)).toBe(0);
  });

  it('compares predicted with reported hits', async () => {
    await using cluster = await startCluster({ prefill: [], decode: [{ cachedTokenCount: 3 }] });
    await (await cluster.post(asked)).text();
    const samples = await samplesOf(cluster);
    expect(samples.get('reported_hit_tokens_total{leg="decode"}')).toBe(3);
    expect(samples.get('predicted_hit_tokens_total')).toBe(0);
    expect(samples.get('prefill_skipped_total{reason="no_prefill_up"}')).toBe(1);
  });

  it('says of every metric what it is, once', async () => {
    await using cluster = await startCluster();
    const text = await (await fetch(`${cluster.url}/metrics`)).text();
    const types = [...text.matchAll(/^# TYPE (\S+) (counter|gauge|histogram)$/gm)];
    const names = types.map(([, name = '']) => name);
    expect(new Set(names).size).toBe(names.length);
    expect([...text.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name)).toEqual(names);
    for (const [, name = '', type] of types) {
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
    }
  });
});

describe('/status/decisions', () => {
  it('shows both legs of every try, the newest first, and how they ended', async () => {
    await using cluster = await startCluster({ decode: [down, {}] });
    const headers = { 'x-request-id': 'mine' };
    let failed: ShownDecision | undefined;
    for (let at = 0; at < 6 && failed === undefined; at += 1) {
      await (await cluster.post(asked, { headers })).text();
      failed = (await decisionsOf(cluster)).find(({ outcome }) => outcome === 'status');
    }
    expect(failed).toMatchObject({
      request_id: 'mine',
      leg: 'decode',
      attempt: 1,
      candidates: 2,
      chosen: cluster.decode[0]?.address,
    });
    const all = await decisionsOf(cluster);
    expect(all[0]).toMatchObject({ leg: 'decode', attempt: 2, outcome: 'answered', candidates: 1 });
    const prefill = all.find(({ leg }) => leg === 'prefill');
    expect(prefill).toMatchObject({ outcome: 'answered', chosen: cluster.prefill[0]?.address });
    expect(prefill?.predicted_prompt_ms).toBeGreaterThan(0);
  });

  it('keeps the last 512', async () => {
    await using cluster = await startCluster();
    for (let at = 0; at < 27; at += 1) {
      const posts = Array.from({ length: 10 }, (_, one) =>
        cluster.post(asked, { headers: { 'x-request-id': `${at}-${one}` } }),
      );
      for (const response of await Promise.all(posts)) await response.text();
    }
    const all = await decisionsOf(cluster);
    expect(all).toHaveLength(512);
    expect(all[0]?.request_id).toMatch(/^26-/);
    expect(all.at(-1)?.request_id).not.toMatch(/^0-/);
    const times = all.map(({ time }) => time);
    expect(times).toEqual([...times].sort().reverse());
  });
});

describe('headers of answers', () => {
  it('name the instances and what the proxy added', async () => {
    await using cluster = await startCluster();
    for (const stream of [true, false]) {
      const response = await cluster.post({ ...asked, stream });
      await response.text();
      expect(response.headers.get('x-tsukimi-prefill')).toBe(cluster.prefill[0]?.address);
      expect(response.headers.get('x-tsukimi-decode')).toBe(cluster.decode[0]?.address);
      expect(response.headers.get('x-tsukimi-overhead-ms')).toMatch(/^\d+\.\d{3}$/);
    }
  });

  it('name nobody when told so', async () => {
    await using cluster = await startCluster({ argv: ['--hide-instances'] });
    const response = await cluster.post(asked);
    await response.text();
    const names = [...response.headers.keys()].filter((name) => name.startsWith('x-tsukimi'));
    expect([response.status, names]).toEqual([200, []]);
    await cluster.decode[0]?.kill();
    await cluster.prefill[0]?.kill();
    const failed = await cluster.post(asked);
    expect(failed.status).toBe(503);
    expect(await failed.text()).not.toMatch(/127\.0\.0\.1|:\d/);
  });
});

describe('--access-log json', () => {
  it('writes a line for each request, the last ones when it stops', async () => {
    let written = '';
    const argv = ['--access-log', 'json', '--api-key', 'secret'];
    const print = (text: string) => {
      written += text;
    };
    const headers = { authorization: 'Bearer secret', 'x-request-id': 'one' };
    let bytes = 0;
    {
      await using cluster = await startCluster({ argv, print });
      bytes = (await (await cluster.post(asked, { headers })).text()).length;
      await (await cluster.post(asked)).text();
      await eventually(async () => {
        const samples = await samplesOf(cluster);
        return samples.has('requests_total{endpoint="/v1/completions",status="401"}');
      }, 'the end of both');
    }
    const lines = written.trimEnd().split('\n');
    const [served, refused] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toHaveLength(2);
    expect(served).toMatchObject({
      request_id: 'one',
      endpoint: '/v1/completions',
      status: 200,
      client: '--api-key 1',
      stream: false,
      attempts: 1,
      output_tokens: 4,
      bytes_in: JSON.stringify(asked).length,
    });
    expect(served?.['bytes_out']).toBeGreaterThanOrEqual(bytes);
    expect(served?.['prefill']).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(served?.['prefill_skipped']).toBeNull();
    const stages = ['queue_ms', 'prefill_ms', 'decode_first_byte_ms', 'overhead_ms'];
    const sum = stages.reduce((before, name) => before + Number(served?.[name]), 0);
    expect(sum).toBeLessThanOrEqual(Number(served?.['first_byte_ms']) + 0.01);
    expect(refused).toMatchObject({ status: 401, client: null, attempts: 0, decode: null });
    expect(written).not.toContain('secret');
    expect(written).not.toContain('"Hi"');
  });
});

describe('the usage of an answer', () => {
  it('is found at its end and never within a text', () => {
    const answer =
      '{"text":"\\"cached_tokens\\":9","usage":{"completion_tokens":12,"x":{"cached_tokens": 7}}}';
    const usage = { cachedTokenCount: 7, outputTokenCount: 12 };
    expect(usageIn(answer)).toEqual(usage);
    expect(usageIn(Buffer.from(answer))).toEqual(usage);
    const message = 'data: {"usage":{"output_tokens":5,"cache_read_input_tokens":2}}';
    expect(usageIn(message)).toEqual({ cachedTokenCount: 2, outputTokenCount: 5 });
    expect(usageIn('{"usage":{"completion_tokens":"many","cached_tokens":null}}')).toEqual({
      cachedTokenCount: null,
      outputTokenCount: null,
    });
  });
});
