import type { Clock } from '@tsukimi/base';
import type { ServerRequest, ServerResponse } from '@tsukimi/http';
import type { Admission } from './core/admission.ts';
import type { InstancePool } from './core/instance-pool.ts';
import type { PoolInstance } from './core/pool-instance.ts';
import { poolWarnings } from './core/pool-warnings.ts';
import { sendBytes, sendJson } from './http-answers.ts';
import type { InstanceAdmin } from './membership/admin.ts';
import type { ProxyMetrics } from './metrics.ts';
import type { DecisionLog } from './telemetry/decision-log.ts';
import { type MetricFamily, metricsText } from './telemetry/metric-families.ts';
import type { Upstream } from './upstream.ts';

export interface OutsideViewOptions {
  readonly scheduling: string;
  readonly clock: Clock;
  readonly pool: InstancePool;
  readonly admission: Admission;
  readonly admin: InstanceAdmin;
  readonly upstream: Upstream;
  readonly metrics: ProxyMetrics;
  readonly decisions: DecisionLog;
  /** Bytes of bodies that are kept for requests in progress. */
  readonly heldByteCount: () => number;
}

type Handler = (request: ServerRequest, response: ServerResponse) => void;

const breakerStates = { closed: 0, 'half-open': 1, open: 2 } as const;

/** What operators see: `/status`, `/status/decisions` and `/metrics`. */
export class OutsideView {
  readonly routes: Readonly<Record<string, { readonly GET: Handler }>>;
  readonly #options: OutsideViewOptions;
  readonly #startMs: number;

  constructor(options: OutsideViewOptions) {
    this.#options = options;
    this.#startMs = options.clock.monotonicMs();
    this.routes = {
      '/status': { GET: (_, response) => sendJson(response, 200, this.#status()) },
      '/status/decisions': {
        GET: (_, response) => sendJson(response, 200, { decisions: options.decisions.shown() }),
      },
      '/metrics': {
        GET: (_, response) => {
          const type = 'text/plain; version=0.0.4; charset=utf-8';
          const families = [...options.metrics.families(), ...this.#gauges()];
          sendBytes(response, 200, type, metricsText(families));
        },
      },
    };
  }

  /** The four fields of vLLM's `disagg_proxy_demo.py`, then ours. */
  #status(): object {
    const { pool, scheduling, clock, admission, admin } = this.#options;
    const addresses = (kind: string) =>
      pool.instances.filter((one) => one.kind === kind).map(({ address }) => address);
    const prefill = addresses('prefill');
    const decode = addresses('decode');
    return {
      prefill_node_count: prefill.length,
      decode_node_count: decode.length,
      prefill_nodes: prefill,
      decode_nodes: decode,
      model: pool.model,
      scheduling,
      uptime_seconds: Math.floor((clock.monotonicMs() - this.#startMs) / 1_000),
      requests_in_flight: admission.activeCount,
      requests_queued: admission.queueLength,
      instances: pool.instances.map((one) => ({
        address: one.address,
        kind: one.kind,
        state: one.state.name,
        reason: 'reason' in one.state ? one.state.reason : null,
        draining: one.draining,
        breaker: pool.breakerState(one),
        ...admin.facts(one),
        model: one.identity?.modelIds[0] ?? null,
        fingerprint: one.identity?.fingerprint ?? null,
        tensor_parallel_size: one.identity?.tensorParallelSize ?? null,
        active_requests: one.activeRequestCount,
        requests_total: one.requestCount,
        failures_total: one.failureCount,
      })),
      warnings: poolWarnings(pool.instances),
    };
  }

  #gauges(): MetricFamily[] {
    const { pool, admission, upstream, heldByteCount } = this.#options;
    const plain = (name: string, doc: string, value: number): MetricFamily => {
      return { name, type: 'gauge', doc, merge: 'sum', samples: { '': value } };
    };
    const each = (
      name: string,
      type: 'counter' | 'gauge',
      merge: 'sum' | 'max',
      doc: string,
      valueOf: (one: PoolInstance) => number,
    ): MetricFamily => {
      const samples = pool.instances.map((one) => [
        `{kind="${one.kind}",instance="${one.address}"}`,
        valueOf(one),
      ]);
      return { name, type, doc, merge, samples: Object.fromEntries(samples) };
    };
    return [
      plain('requests_in_flight', 'Requests that are worked on.', admission.activeCount),
      plain('requests_queued', 'Requests that wait for their turn.', admission.queueLength),
      plain('held_body_bytes', 'Bodies kept for requests in progress.', heldByteCount()),
      plain('upstream_connections', 'Connections to instances.', upstream.connectionCount),
      each('instance_up', 'gauge', 'max', 'Whether an instance may be used.', ({ state }) =>
        state.name === 'up' ? 1 : 0,
      ),
      each(
        'instance_breaker_state',
        'gauge',
        'max',
        'Of the leg that an instance is there for: 0 closed, 1 half-open, 2 open.',
        (one) => breakerStates[pool.breakerState(one)],
      ),
      each(
        'instance_active_requests',
        'gauge',
        'sum',
        'Attempts in progress at an instance.',
        (one) => one.activeRequestCount,
      ),
      each(
        'instance_queued_tokens',
        'gauge',
        'sum',
        'Prompt tokens that were sent to an instance and are to be computed, estimated.',
        (one) => one.queuedTokenCount,
      ),
      each(
        'instance_resident_tokens',
        'gauge',
        'sum',
        'Tokens of the requests that an instance decodes, estimated.',
        (one) => one.residentTokenCount,
      ),
      each(
        'instance_requests_total',
        'counter',
        'sum',
        'Attempts that an instance was chosen for.',
        (one) => one.requestCount,
      ),
      each(
        'instance_failures_total',
        'counter',
        'sum',
        'Attempts that an instance failed.',
        (one) => one.failureCount,
      ),
    ];
  }
}
