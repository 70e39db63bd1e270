import type { Clock } from '@tsukimi/base';
import type { AttemptRun } from '../attempt-run.ts';
import type { AttemptPair } from '../core/attempt.ts';
import type { SkipReason } from '../core/request-plan.ts';
import type { ProxyMetrics } from '../metrics.ts';
import type { RequestTraits } from '../request-traits.ts';
import { AttemptTrace } from './attempt-trace.ts';
import type { DecisionLog } from './decision-log.ts';
import type { RequestRecord } from './request-record.ts';
import { usageIn } from './usage.ts';

export interface NotesContext {
  readonly clock: Clock;
  readonly metrics: ProxyMetrics;
  readonly decisions: DecisionLog;
  /** Answers say which instances made them, and what the proxy added. */
  readonly namesInstances: boolean;
}

/** Takes down, for all who look from outside, what happens to one request at instances. */
export class ExchangeNotes {
  readonly #context: NotesContext;
  readonly #record: RequestRecord;
  /** The last two pieces of a stream: its usage is in one of them. */
  #last: Buffer | string = '';
  #beforeLast: Buffer | string = '';

  /** The request's turn has come. */
  constructor(context: NotesContext, record: RequestRecord) {
    this.#context = context;
    this.#record = record;
    record.beganMs = context.clock.monotonicMs();
  }

  asked({ streams, promptTokenCount }: RequestTraits): void {
    this.#record.streams = streams;
    this.#record.promptTokenCount = promptTokenCount;
  }

  decided({ prefill, decode }: AttemptPair): void {
    const { decisions, clock, metrics } = this.#context;
    const record = this.#record;
    record.attemptCount += 1;
    const wallMs = clock.wallMs();
    for (const assignment of prefill === null ? [decode] : [prefill, decode]) {
      decisions.add(wallMs, record.requestId, record.attemptCount, assignment);
      if (assignment.hitTokenCount > 0) {
        const leg = assignment === decode ? 'leg="decode"' : 'leg="prefill"';
        metrics.count('predicted_hit_tokens_total', leg, assignment.hitTokenCount);
      }
    }
  }

  /** Of the try that was decided on last; null when nobody traces. */
  trace(): AttemptTrace | null {
    const { span, attemptCount } = this.#record;
    return span === null ? null : new AttemptTrace(span, attemptCount);
  }

  prefilled(run: AttemptRun, tookMs: number): void {
    const { metrics } = this.#context;
    metrics.observeMs('prefill', tookMs);
    const cachedTokenCount = run.handover?.cachedTokenCount ?? null;
    if (cachedTokenCount !== null) {
      metrics.count('reported_hit_tokens_total', 'leg="prefill"', cachedTokenCount);
    }
    this.#record.prefill = run.attempt.prefill?.instance.address ?? '';
    this.#record.prefillMs = tookMs;
  }

  /** `sinceMs`: what was done from then on was in vain. */
  failed(sinceMs: number): void {
    this.#record.failedMs += this.#context.clock.monotonicMs() - sinceMs;
  }

  /** The head of the answer is about to leave, and `run` is what it comes from. */
  answerBegins({ decodeLeg, handoverMs, legsTogether }: AttemptRun): void {
    const record = this.#record;
    const nowMs = this.#context.clock.monotonicMs();
    record.firstByteMs = nowMs;
    record.handoverMs = handoverMs;
    record.legsTogether = legsTogether;
    if (decodeLeg === null) return;
    record.decode = decodeLeg.instance.address;
    record.decodeFirstByteMs = nowMs - decodeLeg.startMs;
  }

  streamBegins({ decodeLeg }: AttemptRun): void {
    if (decodeLeg === null) return;
    const { clock, metrics } = this.#context;
    metrics.observeMs('decode_first_byte', clock.monotonicMs() - decodeLeg.startMs);
  }

  /** A piece of the answer's body goes to the client. */
  wrote(piece: Buffer | string): void {
    this.#record.sentByteCount += piece.length;
    this.#beforeLast = this.#last;
    this.#last = piece;
  }

  /** The answer is whole, or its stream has ended well. */
  answered({ attempt, decodeLeg }: AttemptRun): void {
    const { clock, metrics } = this.#context;
    if (decodeLeg !== null) metrics.observeMs('decode', clock.monotonicMs() - decodeLeg.startMs);
    let usage = usageIn(this.#last);
    if (usage.outputTokenCount === null) usage = usageIn(this.#beforeLast);
    const record = this.#record;
    record.cachedTokenCount = usage.cachedTokenCount;
    record.outputTokenCount = usage.outputTokenCount;
    // A leg that only decodes has all of its prompt from elsewhere.
    if (attempt.decode.work !== 'whole' || usage.cachedTokenCount === null) return;
    metrics.count('reported_hit_tokens_total', 'leg="decode"', usage.cachedTokenCount);
  }

  /** Nothing more goes to the client, who has got so many tokens, as far as they were counted. */
  settled(tokenCount: number, skipReason: SkipReason | null): void {
    this.#record.skipReason = skipReason;
    if (tokenCount > 0) this.#record.outputTokenCount ??= tokenCount;
  }

  /** Puts into `headers` whose answer it is; nothing before it begins. */
  name(headers: Record<string, string>): void {
    const { prefill, decode, firstByteMs } = this.#record;
    if (!this.#context.namesInstances || firstByteMs === null) return;
    if (prefill !== '') headers['x-tsukimi-prefill'] = prefill;
    headers['x-tsukimi-decode'] = decode;
    headers['x-tsukimi-overhead-ms'] = this.#record.overheadMs(firstByteMs).toFixed(3);
  }
}
