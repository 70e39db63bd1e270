import { Histogram } from './telemetry/histogram.ts';
import type { MetricFamily } from './telemetry/metric-families.ts';
import type { RequestRecord } from './telemetry/request-record.ts';

/** Upper bounds in seconds: from what a hit takes to the first-byte deadline, */
const stageBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
/** between two tokens, */
const tokenBounds = [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
/** and for what the proxy does itself. */
const overheadBounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1];

const counterDocs = {
  requests_total: 'Requests for completions by endpoint and status.',
  retries_total: 'Attempts that failed and were made elsewhere, by leg and reason.',
  resumed_streams_total: 'Streams that went on at another instance.',
  prefill_skipped_total: 'Requests that no prefill instance took part in, by reason.',
  objective_refusals_total: 'Requests refused as they would have missed an objective.',
  hedges_total: 'Second tries that began elsewhere while the first one was late.',
  kv_stranded_total:
    'Requests whose KVCache a prefill instance keeps until its own timer ends that.',
  stream_failures_total: 'Streams that ended with an error event.',
  store_waits_total:
    'Requests held back until what prefill computed was in the store, by how the wait ended.',
  prompt_tokens_total: 'Tokens of prompts, estimated by their size.',
  output_tokens_total: 'Tokens of answers, where instances told them.',
  predicted_hit_tokens_total:
    'Prompt tokens that the policy took to be cached at the chosen instance, by leg.',
  reported_hit_tokens_total: 'Prompt tokens that instances say were cached, by leg.',
} as const;

const histogramDocs = {
  time_to_first_token_seconds: 'From the first byte of a request to the first of its stream.',
  request_duration_seconds: 'From the first byte of a request to the last of its answer.',
  time_per_output_token_seconds: 'Mean time between the tokens of one stream.',
  overhead_seconds:
    'What the proxy itself took until an answer began: neither its queue nor instances.',
} as const;

export type CounterName = keyof typeof counterDocs;
export type Stage = 'queue' | 'prefill' | 'handover' | 'decode_first_byte' | 'decode';

/** Counts what happens, for Prometheus. */
export class ProxyMetrics {
  readonly #counters = new Map<CounterName, Map<string, number>>();
  readonly #stages: Record<Stage, Histogram> = {
    queue: new Histogram(stageBounds),
    prefill: new Histogram(stageBounds),
    handover: new Histogram(stageBounds),
    decode_first_byte: new Histogram(stageBounds),
    decode: new Histogram(stageBounds),
  };
  readonly #histograms: Record<keyof typeof histogramDocs, Histogram> = {
    time_to_first_token_seconds: new Histogram(stageBounds),
    request_duration_seconds: new Histogram(stageBounds),
    time_per_output_token_seconds: new Histogram(tokenBounds),
    overhead_seconds: new Histogram(overheadBounds),
  };

  /** `labels` is the text within the braces; its values come from small sets of ours. */
  count(name: CounterName, labels = '', by = 1): void {
    let series = this.#counters.get(name);
    if (series === undefined) {
      series = new Map();
      this.#counters.set(name, series);
    }
    series.set(labels, (series.get(labels) ?? 0) + by);
  }

  observeMs(stage: Stage, elapsedMs: number): void {
    this.#stages[stage].observe(elapsedMs / 1_000);
  }

  /** The request is over, and so is its answer. */
  requestEnded(record: RequestRecord, status: number, nowMs: number): void {
    const { endpoint, startMs, queueMs, firstByteMs, outputTokenCount } = record;
    const histograms = this.#histograms;
    this.count('requests_total', `endpoint="${endpoint}",status="${status}"`);
    if (queueMs === null) return;
    this.observeMs('queue', queueMs);
    this.count('prompt_tokens_total', '', record.promptTokenCount);
    if (firstByteMs === null) return;
    histograms.request_duration_seconds.observe((nowMs - startMs) / 1_000);
    histograms.overhead_seconds.observe(record.overheadMs(firstByteMs) / 1_000);
    if (record.streams) {
      histograms.time_to_first_token_seconds.observe((firstByteMs - startMs) / 1_000);
    }
    if (outputTokenCount === null) return;
    this.count('output_tokens_total', '', outputTokenCount);
    if (!record.streams || outputTokenCount < 2) return;
    const tokenMs = (nowMs - firstByteMs) / (outputTokenCount - 1);
    histograms.time_per_output_token_seconds.observe(tokenMs / 1_000);
  }

  families(): MetricFamily[] {
    const families: MetricFamily[] = [];
    for (const [name, doc] of Object.entries(counterDocs)) {
      const samples: Record<string, number> = {};
      const series = this.#counters.get(name as CounterName) ?? new Map([['', 0]]);
      for (const [labels, value] of series) samples[labels === '' ? '' : `{${labels}}`] = value;
      families.push({ name, type: 'counter', doc, merge: 'sum', samples });
    }
    const histogram = (name: string, doc: string, tell: (into: Record<string, number>) => void) => {
      const samples: Record<string, number> = {};
      tell(samples);
      families.push({ name, type: 'histogram', doc, merge: 'sum', samples });
    };
    histogram('stage_seconds', 'Time of the stages of a request.', (into) => {
      for (const [stage, one] of Object.entries(this.#stages)) one.tell(into, `stage="${stage}"`);
    });
    for (const [name, doc] of Object.entries(histogramDocs)) {
      histogram(name, doc, (into) =>
        this.#histograms[name as keyof typeof histogramDocs].tell(into),
      );
    }
    return families;
  }
}
