import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { loadTracer } from '../src/index.ts';
import { readStream, startCluster } from './cluster.ts';
import { type CollectedSpan, spansIn } from './otlp-trace.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 4 };
const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';

interface Collector {
  readonly endpoint: string;
  readonly spans: CollectedSpan[];
  readonly contentTypes: Set<string>;
}

async function startCollector(status = 200): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const contentTypes = new Set<string>();
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      contentTypes.add(`${request.method} ${request.url} ${request.headers['content-type']}`);
      spans.push(...spansIn(Buffer.concat(pieces)));
      response.writeHead(status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { endpoint: `http://127.0.0.1:${port}`, spans, contentTypes };
}

describe('tracing', () => {
  it('sends spans of a request and its legs below the one of the client', async () => {
    const collector = await startCollector();
    const tracer = await loadTracer({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
    const seenAt = { prefill: '', decode: '' };
    {
      await using cluster = await startCluster({ tracer });
      const headers = {
        traceparent: `00-${traceId}-${parentId}-01`,
        tracestate: 'vendor=1',
        'x-request-id': 'mine',
      };
      await readStream(await cluster.post({ ...asked, stream: true }, { headers }));
      for (const kind of ['prefill', 'decode'] as const) {
        const [leg] = cluster.sent(kind);
        seenAt[kind] = String(leg?.headers['traceparent']);
        expect([leg?.headers['tracestate'], leg?.headers['x-request-id']]).toEqual([
          'vendor=1',
          'mine',
        ]);
      }
    }
    expect([...collector.contentTypes]).toEqual(['POST /v1/traces application/x-protobuf']);
    const byName = new Map(collector.spans.map((span) => [span.name, span]));
    expect([...byName.keys()].sort()).toEqual([
      'POST /v1/completions',
      'decode',
      'prefill',
      'queue',
    ]);
    const request = byName.get('POST /v1/completions');
    expect(request).toMatchObject({ traceId, parentId, service: 'tsukimi-proxy', kind: 2 });
    expect(request?.attributes).toMatchObject({
      'http.response.status_code': 200,
      'gen_ai.operation.name': 'text_completion',
      'gen_ai.request.model': 'tsukimi-demo',
      'gen_ai.usage.output_tokens': 4,
      'tsukimi.request_id': 'mine',
      'tsukimi.attempts': 1,
    });
    for (const kind of ['prefill', 'decode'] as const) {
      const leg = byName.get(kind);
      expect(leg).toMatchObject({ traceId, parentId: request?.spanId, kind: 3, failed: false });
      expect(leg?.attributes).toMatchObject({ 'http.response.status_code': 200 });
      expect(seenAt[kind]).toBe(`00-${traceId}-${leg?.spanId}-01`);
    }
    expect(JSON.stringify(collector.spans)).not.toContain('"Hi"');
  });

  it('keeps every header apart from the others, also where a value is the name of another', async () => {
    const collector = await startCollector();
    const tracer = await loadTracer({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
    await using cluster = await startCluster({ tracer });
    const named = { 'x-request-id': 'traceparent', authorization: 'Bearer mine' };
    for (const parent of [{}, { traceparent: `00-${traceId}-${parentId}-01` }]) {
      await (await cluster.post(asked, { headers: { ...named, ...parent } })).text();
      for (const kind of ['prefill', 'decode'] as const) {
        const headers = cluster.sent(kind).at(-1)?.headers;
        expect(headers).toMatchObject(named);
        expect(headers?.['traceparent']).toMatch(
          /^00-[0-9a-f]{32}-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/,
        );
      }
    }
  });

  it('marks the leg that failed, and begins a trace where the client names none', async () => {
    const collector = await startCollector();
    const tracer = await loadTracer({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
    {
      const failing = { fate: () => ({ kind: 'status', status: 500 }) as const };
      await using cluster = await startCluster({ tracer, decode: [failing] });
      const headers = { traceparent: `00-${'0'.repeat(32)}-${parentId}-01` };
      const response = await cluster.post(asked, { headers });
      expect(response.headers.get('x-tsukimi-decode')).toBe(cluster.prefill[0]?.address);
      await response.text();
    }
    const [request] = collector.spans.filter(({ name }) => name.startsWith('POST'));
    expect([request?.parentId, request?.failed]).toEqual(['', false]);
    expect(request?.traceId).toMatch(/^(?!0{32})[0-9a-f]{32}$/);
    const failed = collector.spans.filter((span) => span.failed);
    expect(failed.length).toBeGreaterThan(0);
    for (const { name, attributes, traceId: id } of failed) {
      expect([name, attributes['error.type'], id]).toEqual(['decode', 'status', request?.traceId]);
    }
  });

  it('records what the client wants recorded, and of the others the part that is asked for', async () => {
    const collector = await startCollector();
    const tracer = await loadTracer({
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
      OTEL_TRACES_SAMPLER_ARG: '0',
    });
    {
      await using cluster = await startCluster({ tracer });
      for (const flags of ['01', '00']) {
        const headers = { traceparent: `00-${traceId}-${parentId}-${flags}` };
        await (await cluster.post(asked, { headers })).text();
        expect(cluster.sent('decode').at(-1)?.headers['traceparent']).toMatch(
          new RegExp(`^00-${traceId}-(?!${parentId})[0-9a-f]{16}-${flags}$`),
        );
      }
      await (await cluster.post(asked)).text();
    }
    expect(collector.spans.filter(({ name }) => name.startsWith('POST'))).toHaveLength(1);
  });

  it('costs no request when the collector refuses or is gone', async () => {
    const collector = await startCollector(400);
    for (const endpoint of [collector.endpoint, 'http://127.0.0.1:9']) {
      const tracer = await loadTracer({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint });
      await using cluster = await startCluster({ tracer });
      expect((await cluster.post(asked)).status).toBe(200);
    }
  });

  it('passes on what the client says of its trace when nobody traces', async () => {
    await using cluster = await startCluster();
    const headers = { traceparent: `00-${traceId}-${parentId}-01`, tracestate: 'vendor=1' };
    await (await cluster.post(asked, { headers })).text();
    for (const kind of ['prefill', 'decode'] as const) {
      expect(cluster.sent(kind)[0]?.headers).toMatchObject(headers);
    }
  });

  it('is loaded only when asked for, from a URL', async () => {
    expect(await loadTracer({})).toBeNull();
    const given = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' };
    expect(await loadTracer({ ...given, OTEL_SDK_DISABLED: 'true' })).toBeNull();
    await expect(loadTracer({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' })).rejects.toThrow(
      'is no http:// or https:// URL',
    );
    await expect(loadTracer({ ...given, OTEL_TRACES_SAMPLER_ARG: 'half' })).rejects.toThrow(
      'is not from 0 to 1',
    );
  });
});
