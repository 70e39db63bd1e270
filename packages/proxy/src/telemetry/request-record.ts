import type { SkipReason } from '../core/request-plan.ts';
import type { Span } from './tracer.ts';

/**
 * What becomes known of one client's request on its way, for the metrics, the access log and the
 * headers of its answer. Times are of the monotonic clock, in milliseconds.
 */
export class RequestRecord {
  readonly endpoint: string;
  readonly requestId: string;
  readonly startMs: number;
  /** Null when nobody traces. */
  readonly span: Span | null;
  /** The name of the client's key; empty without one. */
  client = '';
  /** All of the request was here; null before. */
  bodyMs: number | null = null;
  /** It was read and began to wait for its turn; null before. */
  queuedMs: number | null = null;
  /** It was its turn; null before. */
  beganMs: number | null = null;
  /** The answer's head left; null before. */
  firstByteMs: number | null = null;
  streams = false;
  receivedByteCount = 0;
  /** Of the answer's body, where it came from an instance. */
  sentByteCount = 0;
  /** An estimate. */
  promptTokenCount = 0;
  /** Null where nobody told. */
  outputTokenCount: number | null = null;
  cachedTokenCount: number | null = null;
  /** Addresses of those that did the work, as far as it came; empty for none. */
  prefill = '';
  decode = '';
  attemptCount = 0;
  skipReason: SkipReason | null = null;
  /** How long the tries that led to the answer took for each stage; null for none. */
  prefillMs: number | null = null;
  handoverMs: number | null = null;
  decodeFirstByteMs: number | null = null;
  /** The legs ran at once: their times are not to be added. */
  legsTogether = false;
  /** Spent on tries that came to nothing. */
  failedMs = 0;

  constructor(endpoint: string, requestId: string, startMs: number, span: Span | null) {
    this.endpoint = endpoint;
    this.requestId = requestId;
    this.startMs = startMs;
    this.span = span;
  }

  /** Null while it waits. */
  get queueMs(): number | null {
    return this.beganMs === null || this.queuedMs === null ? null : this.beganMs - this.queuedMs;
  }

  /** What the proxy itself took for the answer to begin: neither waiting for its turn nor for instances. */
  overheadMs(nowMs: number): number {
    const prefillMs = this.prefillMs ?? 0;
    const decodeMs = (this.decodeFirstByteMs ?? 0) + (this.handoverMs ?? 0);
    const waitedMs = this.legsTogether ? Math.max(prefillMs, decodeMs) : prefillMs + decodeMs;
    return Math.max(
      0,
      nowMs - (this.bodyMs ?? nowMs) - (this.queueMs ?? 0) - waitedMs - this.failedMs,
    );
  }

  /** Tells its span, if it has one, what became of it; by the conventions for `http` and `gen_ai`. */
  endSpan(status: number): void {
    if (this.span === null) return;
    const { firstByteMs, outputTokenCount, cachedTokenCount } = this;
    this.span.tell({
      'http.response.status_code': status,
      'tsukimi.attempts': this.attemptCount,
      ...(status >= 400 ? { 'error.type': String(status) } : {}),
      ...(outputTokenCount === null ? {} : { 'gen_ai.usage.output_tokens': outputTokenCount }),
      ...(cachedTokenCount === null
        ? {}
        : { 'gen_ai.usage.cache_read.input_tokens': cachedTokenCount }),
      ...(firstByteMs === null
        ? {}
        : {
            'tsukimi.first_byte_ms': firstByteMs - this.startMs,
            'tsukimi.overhead_ms': this.overheadMs(firstByteMs),
          }),
    });
    this.span.end(status >= 500 ? `status ${status}` : undefined);
  }
}
