import type { Clock } from '@tsukimi/base';
import type { ServerRequest, ServerResponse } from '@tsukimi/http';
import type { Admission } from './core/admission.ts';
import type { HeldMemory } from './core/held-memory.ts';
import type { InstancePool } from './core/instance-pool.ts';
import type { InstanceKind, PoolInstance } from './core/pool-instance.ts';
import { poolWarnings } from './core/pool-warnings.ts';
import { sendBytes, sendJson } from './http-answers.ts';
import type { InstanceAdmin } from './membership/admin.ts';
import type { ProxyMetrics } from './metrics.ts';
import type { Peers } from './peers.ts';
import {
  type DecisionLog,
  decisionCountMax,
  type ShownDecision,
} from './telemetry/decision-log.ts';
import { type MetricFamily, mergedFamilies, metricsText } from './telemetry/metric-families.ts';
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
  readonly peers: Peers;
  /** Bytes of bodies that are kept for requests in progress. */
  readonly memory: HeldMemory;
}

/** What one worker has to tell. */
interface View {
  readonly families: readonly MetricFamily[];
  readonly activeCount: number;
  readonly queueLength: number;
  readonly instances: readonly InstanceView[];
}

interface InstanceView {
  readonly kind: InstanceKind;
  readonly address: string;
  readonly activeCount: number;
  readonly requestCount: number;
  readonly failureCount: number;
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
    const { peers, decisions } = options;
    peers.onAsked('decisions', () => decisions.shown());
    peers.onAsked('view', () => this.#own());
    this.routes = {
      '/status': { GET: (_, response) => void this.#tellStatus(response) },
      '/status/decisions': { GET: (_, response) => void this.#tellDecisions(response) },
      '/metrics': { GET: (_, response) => void this.#tellMetrics(response) },
    };
  }

  async #tellStatus(response: ServerResponse): Promise<void> {
    sendJson(response, 200, this.#status(await this.#all()));
  }

  async #tellDecisions(response: ServerResponse): Promise<void> {
    const { peers, decisions } = this.#options;
    const others = (await peers.ask('decisions')) as readonly ShownDecision[][];
    const own = decisions.shown();
    sendJson(response, 200, { decisions: others.length === 0 ? own : latest([own, ...others]) });
  }

  async #tellMetrics(response: ServerResponse): Promise<void> {
    const families = mergedFamilies((await this.#all()).map((one) => one.families));
    const type = 'text/plain; version=0.0.4; charset=utf-8';
    sendBytes(response, 200, type, metricsText(families));
  }

  /** This worker's first. */
  async #all(): Promise<readonly View[]> {
    const others = (await this.#options.peers.ask('view')) as readonly (View | null)[];
    return [this.#own(), ...others.filter((one) => one !== null)];
  }

  #own(): View {
    const { metrics, admission, pool } = this.#options;
    return {
      families: [...metrics.families(), ...this.#gauges()],
      activeCount: admission.activeCount,
      queueLength: admission.queueLength,
      instances: pool.instances.map((one) => ({
        kind: one.kind,
        address: one.address,
        activeCount: one.activeRequestCount,
        requestCount: one.requestCount,
        failureCount: one.failureCount,
      })),
    };
  }

  /** The four fields of vLLM's `disagg_proxy_demo.py`, then ours. */
  #status(views: readonly View[]): object {
    const { pool, scheduling, clock, admin } = this.#options;
    const addresses = (kind: string) =>
      pool.instances.filter((one) => one.kind === kind).map(({ address }) => address);
    const prefill = addresses('prefill');
    const decode = addresses('decode');
    const countOf = ({ kind, address }: PoolInstance, count: (here: InstanceView) => number) =>
      sum(views, ({ instances }) => {
        const here = instances.find((one) => one.kind === kind && one.address === address);
        return here === undefined ? 0 : count(here);
      });
    return {
      prefill_node_count: prefill.length,
      decode_node_count: decode.length,
      prefill_nodes: prefill,
      decode_nodes: decode,
      model: pool.model,
      scheduling,
      uptime_seconds: Math.floor((clock.monotonicMs() - this.#startMs) / 1_000),
      workers: views.length,
      requests_in_flight: sum(views, (one) => one.activeCount),
      requests_queued: sum(views, (one) => one.queueLength),
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
        pd_protocol: one.identity?.pd?.protocol ?? null,
        active_requests: countOf(one, (here) => here.activeCount),
        requests_total: countOf(one, (here) => here.requestCount),
        failures_total: countOf(one, (here) => here.failureCount),
      })),
      warnings: poolWarnings(pool.instances),
    };
  }

  #gauges(): MetricFamily[] {
    const { pool, admission, memory, upstream } = this.#options;
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
      plain('held_body_bytes', 'Bodies and whole answers in memory.', memory.byteCount),
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

function sum(views: readonly View[], count: (view: View) => number): number {
  return views.reduce((before, view) => before + count(view), 0);
}

/** As many as one worker keeps. */
function latest(all: readonly (readonly ShownDecision[])[]): ShownDecision[] {
  const newestFirst = all.flat().sort((one, other) => (one.time < other.time ? 1 : -1));
  return newestFirst.slice(0, decisionCountMax);
}
