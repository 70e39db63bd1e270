import type { EngineStats } from '@tsukimi/engine';
import type { ConnectorCounters } from '@tsukimi/kv-connector';
import { type Counter, type Histogram, MetricRegistry } from './prometheus.ts';

export interface InstanceMetricsOptions {
  readonly modelName: string;
  readonly engineStats: () => EngineStats;
  readonly connectorCounters: () => Readonly<ConnectorCounters>;
  /** Whether the store answers; null where there is none. */
  readonly storeReachable: () => boolean | null;
}

const firstTokenBoundsS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const tokenGapBoundsS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5,
];
const requestBoundsS = [
  0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480,
];

/** The numbers of an instance: vLLM's names where the meaning is the same, ours for the rest. */
export class InstanceMetrics {
  readonly firstTokenS: Histogram;
  readonly tokenGapS: Histogram;
  readonly perOutputTokenS: Histogram;
  readonly requestS: Histogram;
  /** By reason: `stop`, `length`, `abort`. */
  readonly finished: Counter;
  /** By status, of answers that are not a success. */
  readonly refused: Counter;
  readonly #registry: MetricRegistry;

  constructor(options: InstanceMetricsOptions) {
    const registry = new MetricRegistry({ model_name: options.modelName });
    this.#registry = registry;
    const { engineStats: stats, connectorCounters: counters } = options;
    const gauge = registry.observed.bind(registry, 'gauge');
    const counter = registry.observed.bind(registry, 'counter');
    gauge('vllm:num_requests_running', 'Requests in slots.', () => stats().runningCount);
    gauge(
      'vllm:num_requests_waiting',
      'Requests that wait for a slot.',
      () => stats().waitingCount,
    );
    gauge('vllm:kv_cache_usage_perc', 'Share of KV cells in use, 0 to 1.', () => usage(stats()));
    gauge('vllm:gpu_cache_usage_perc', 'The same, by its older name.', () => usage(stats()));
    counter(
      'vllm:prompt_tokens_total',
      'Prompt tokens of requests that started.',
      () => stats().promptTokenCount,
    );
    counter('vllm:generation_tokens_total', 'Output tokens.', () => stats().generatedTokenCount);
    counter(
      'vllm:prefix_cache_queries_total',
      'Prompt tokens that stored KV was looked for.',
      () => counters().lookedUpTokenCount,
    );
    counter(
      'vllm:prefix_cache_hits_total',
      'Prompt tokens whose KV was found.',
      () => counters().hitTokenCount,
    );
    this.firstTokenS = registry.histogram(
      'vllm:time_to_first_token_seconds',
      'From a checked request to its first token.',
      firstTokenBoundsS,
    );
    this.tokenGapS = registry.histogram(
      'vllm:inter_token_latency_seconds',
      'Between two tokens of a request.',
      tokenGapBoundsS,
    );
    this.perOutputTokenS = registry.histogram(
      'vllm:time_per_output_token_seconds',
      'Mean of a request between its first token and its last.',
      tokenGapBoundsS,
    );
    this.requestS = registry.histogram(
      'vllm:e2e_request_latency_seconds',
      'From a checked request to its last token.',
      requestBoundsS,
    );
    this.finished = registry.counter('vllm:request_success_total', 'Requests that ended.', {
      name: 'finished_reason',
      values: ['stop', 'length', 'abort'],
    });
    this.refused = registry.counter('tsukimi_refused_requests_total', 'Requests not served.', {
      name: 'status',
      values: ['400', '404', '413', '500', '503'],
    });
    registerOurs(registry, options);
  }

  render(): string {
    return this.#registry.render();
  }
}

function registerOurs(registry: MetricRegistry, options: InstanceMetricsOptions): void {
  const { engineStats: stats, connectorCounters: counters } = options;
  const counter = registry.observed.bind(registry, 'counter');
  counter('tsukimi_engine_steps_total', 'Batches computed.', () => stats().stepCount);
  counter(
    'tsukimi_prefill_tokens_total',
    'Prompt tokens computed.',
    () => stats().prefillTokenCount,
  );
  counter(
    'tsukimi_cached_prompt_tokens_total',
    'Prompt tokens that were loaded and not computed.',
    () => stats().cachedTokenCount,
  );
  counter('tsukimi_failed_requests_total', 'Requests that failed.', () => stats().failedCount);
  counter(
    'tsukimi_kv_skipped_saves_total',
    'Exports left out because too many were under way.',
    () => stats().skippedSaveCount,
  );
  counter('tsukimi_kv_lookups_total', 'Look-ups of prefixes.', () => counters().lookupCount);
  counter('tsukimi_kv_chunks_loaded_total', 'Chunks loaded.', () => counters().loadedChunkCount);
  counter('tsukimi_kv_bytes_loaded_total', 'Bytes loaded.', () => counters().loadedByteCount);
  counter('tsukimi_kv_chunks_stored_total', 'Chunks stored.', () => counters().storedChunkCount);
  counter('tsukimi_kv_bytes_stored_total', 'Bytes stored.', () => counters().storedByteCount);
  counter(
    'tsukimi_kv_chunks_present_total',
    'Chunks that were stored already.',
    () => counters().presentChunkCount,
  );
  counter(
    'tsukimi_kv_chunks_corrupt_total',
    'Chunks that were not what their key says, and were computed.',
    () => counters().corruptChunkCount,
  );
  registry.observedBy(
    'counter',
    'tsukimi_kv_chunk_flaws_total',
    'Corrupt chunks by what was wrong.',
    'flaw',
    () => counters().flaws,
  );
  registry.observedBy(
    'counter',
    'tsukimi_kv_failures_total',
    'What the store could not do, by reason.',
    'reason',
    () => counters().failures,
  );
  if (options.storeReachable() === null) return;
  registry.observed('gauge', 'tsukimi_store_reachable', '1 while the store answers.', () =>
    options.storeReachable() === true ? 1 : 0,
  );
}

function usage(stats: EngineStats): number {
  const cells = stats.slotCells.reduce((sum, count) => sum + count, 0);
  return cells / (stats.slotCount * stats.cellsPerSlot);
}
