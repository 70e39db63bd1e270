import {
  type Context,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  type Span as TelemetrySpan,
  type Tracer as TelemetryTracer,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { Ending, Fault, type Service } from '@tsukimi/base';
import type { Span, SpanAttributes, Tracer } from './tracer.ts';

export interface OtlpTracerOptions {
  /** Of an OTLP/HTTP collector, `http://host:4318`; `/v1/traces` is added where it is missing. */
  readonly endpoint: string;
  /** Of the requests whose client does not say whether to record them, which part is; in [0, 1]. */
  readonly sampledRatio: number;
}

/** Spans that wait to be sent; beyond that new ones are dropped. */
const queueLengthMax = 8_192;
/** One batch, with all that is tried again; the last one of a proxy that stops too. */
const exportWithinMs = 3_000;

/**
 * Sends spans to an OpenTelemetry collector, many at a time and beside the requests: a collector that is
 * slow or gone costs spans, and never a request. `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and
 * `OTEL_EXPORTER_OTLP_HEADERS` are heeded, and so is the client's word on sampling.
 */
export class OtlpTracer implements Tracer, Service {
  readonly name = 'tracer';
  readonly #provider: TracerProvider;
  readonly #tracer: TelemetryTracer;
  readonly #ending = new Ending();

  constructor(options: OtlpTracerOptions) {
    const exporter = new OTLPTraceExporter({
      url: tracesUrl(options.endpoint),
      timeoutMillis: exportWithinMs,
    });
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'tsukimi-proxy' }).merge(
        detectResources({ detectors: [envDetector] }),
      ),
      sampler: new ParentBasedSampler({
        root: new TraceIdRatioBasedSampler(options.sampledRatio),
      }),
      spanProcessors: [new BatchSpanProcessor({ exporter, maxQueueSize: queueLengthMax })],
    });
    this.#tracer = this.#provider.getTracer('tsukimi-proxy');
  }

  async start(): Promise<void> {}

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  /** Sends what waits. */
  async stop(deadline: AbortSignal): Promise<void> {
    const cutOff = new Promise<void>((resolve) => {
      if (deadline.aborted) resolve();
      deadline.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([this.#provider.shutdown().catch(() => {}), cutOff]);
    this.#ending.stopped();
  }

  request(name: string, traceparent: string | undefined, attributes: SpanAttributes): Span {
    const parent = parentIn(traceparent);
    const span = this.#tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent);
    return new RecordedSpan(this.#tracer, span, parent);
  }
}

class RecordedSpan implements Span {
  readonly #tracer: TelemetryTracer;
  readonly #span: TelemetrySpan;
  readonly #context: Context;
  #ended = false;

  constructor(tracer: TelemetryTracer, span: TelemetrySpan, parent: Context) {
    this.#tracer = tracer;
    this.#span = span;
    this.#context = trace.setSpan(parent, span);
  }

  get traceparent(): string {
    const { traceId, spanId, traceFlags } = this.#span.spanContext();
    return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
  }

  child(name: string, does: 'calls' | 'internal', attributes: SpanAttributes): Span {
    const kind = does === 'calls' ? SpanKind.CLIENT : SpanKind.INTERNAL;
    const span = this.#tracer.startSpan(name, { kind, attributes }, this.#context);
    return new RecordedSpan(this.#tracer, span, this.#context);
  }

  tell(attributes: SpanAttributes): void {
    this.#span.setAttributes(attributes);
  }

  end(failure?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    if (failure !== undefined) {
      this.#span.setStatus({ code: SpanStatusCode.ERROR, message: failure });
    }
    this.#span.end();
  }
}

/** W3C Trace Context, version 00 and what later ones must still begin with; anything else is no parent. */
function parentIn(traceparent: string | undefined): Context {
  const match = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/.exec(
    traceparent ?? '',
  );
  if (match === null) return ROOT_CONTEXT;
  const [, traceId = '', spanId = '', flags = ''] = match;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return ROOT_CONTEXT;
  const traceFlags = Number.parseInt(flags, 16) & TraceFlags.SAMPLED;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

function tracesUrl(endpoint: string): string {
  if (!/^https?:\/\//.test(endpoint) || !URL.canParse(endpoint)) {
    const reason = `OTEL_EXPORTER_OTLP_ENDPOINT: "${endpoint}" is no http:// or https:// URL`;
    throw new Fault('MISCONFIGURED', reason);
  }
  const url = new URL(endpoint);
  if (!url.pathname.endsWith('/v1/traces')) {
    url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`;
  }
  return url.href;
}
