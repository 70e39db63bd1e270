import {
  below,
  type Clock,
  Ending,
  Fault,
  type Random,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import { z } from 'zod';
import { generatesForHealth, type Identity } from '../core/identity.ts';
import type { InstancePool } from '../core/instance-pool.ts';
import type { PdFacts, PdHint } from '../core/pd-facts.ts';
import type { PoolInstance } from '../core/pool-instance.ts';
import type { Deadlines } from '../deadlines.ts';
import type { Upstream } from '../upstream.ts';
import { askInstance, type InstanceAnswer, unusable } from './ask-instance.ts';
import { discoverPd } from './pd-discovery.ts';

export interface InstanceWatchOptions {
  readonly pool: InstancePool;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly random: Random;
  readonly deadlines: Deadlines;
  /** `Bearer …`; null for none. */
  readonly authorization: string | null;
  /** For instances of which nothing else is said. */
  readonly pd: PdHint;
}

interface GetOptions {
  readonly authorization?: string | null;
  /** Beyond what a probe may take. */
  readonly patienceMs?: number;
}

/** SGLang's `/health` looks once a second whether a token has come, and may meet a long step. */
const generationPatienceMs = 4_000;
/** Share of a period by which probes come earlier or later, so that those of many proxies spread. */
const jitter = 0.2;

const modelList = z.object({ data: z.array(z.looseObject({ id: z.string() })).max(1_024) });
/** What an instance of ours says of itself; fields that a later version may drop are optional. */
const instanceFacts = z.object({
  fingerprint: z.string().nullish(),
  tensor_parallel_size: z.number().int().positive().nullish(),
  engine_id: z.string().max(256).nullish(),
  kv_role: z.enum(['kv_producer', 'kv_consumer', 'kv_both']).nullish().catch(null),
});

interface Watched {
  scheduled: Scheduled | null;
  probing: boolean;
  /** When it last told who it is; it is asked again before it is used where this is null. */
  identifiedMs: number | null;
}

/**
 * Asks every instance, again and again, whether it is well and who it is. An instance that did not
 * answer, or was gone, is asked who it is before it is used: another one may have come up there.
 */
export class InstanceWatch implements Service {
  readonly name = 'instance watch';
  readonly #options: InstanceWatchOptions;
  readonly #ending = new Ending();
  readonly #watched = new Map<PoolInstance, Watched>();
  #stopped = false;

  constructor(options: InstanceWatchOptions) {
    this.#options = options;
  }

  /** Resolves when each instance has been asked once, whatever it said. */
  async start(): Promise<void> {
    await Promise.all(this.#options.pool.instances.map((instance) => this.watch(instance)));
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const { scheduled } of this.#watched.values()) scheduled?.cancel();
    this.#watched.clear();
    this.#options.upstream.close();
    this.#ending.stopped();
  }

  /** Resolves after the first probe; goes on until `forget` or `stop`. */
  async watch(instance: PoolInstance): Promise<void> {
    if (this.#stopped || this.#watched.has(instance)) return;
    const watched: Watched = { scheduled: null, probing: false, identifiedMs: null };
    this.#watched.set(instance, watched);
    await this.#round(instance, watched);
  }

  /** Asks it no more. */
  forget(instance: PoolInstance): void {
    this.#watched.get(instance)?.scheduled?.cancel();
    this.#watched.delete(instance);
  }

  /** Something is wrong there: asks at once, and also who it is. */
  suspect(instance: PoolInstance): void {
    const watched = this.#watched.get(instance);
    if (watched === undefined || watched.identifiedMs === null) return;
    watched.identifiedMs = null;
    if (watched.probing) return;
    watched.scheduled?.cancel();
    void this.#round(instance, watched);
  }

  /**
   * Who answers there. Rejects with `PEER_UNREACHABLE` and a reason for people when nobody does, or
   * nobody we can use. `asksStart` also looks for the start of a foreign engine, which costs it more.
   */
  async identify(
    instance: Pick<PoolInstance, 'origin' | 'endpoint' | 'kind'>,
    asksStart = true,
  ): Promise<Identity> {
    const [models, facts] = await Promise.all([
      this.#get(instance, '/v1/models'),
      this.#get(instance, '/tsukimi/instance'),
    ]);
    if (models.status !== 200) throw unusable(`/v1/models answers with status ${models.status}`);
    const list = parsed(modelList, models.body);
    if (list === null) throw unusable('/v1/models does not answer with a list of models');
    const own = facts.status === 200 ? parsed(instanceFacts, facts.body) : null;
    return {
      models: list.data,
      modelIds: list.data.map(({ id }) => id),
      ours: own !== null,
      fingerprint: own?.fingerprint ?? null,
      tensorParallelSize: own?.tensor_parallel_size ?? null,
      engineId:
        own?.engine_id ?? (own === null && asksStart ? await this.#startOf(instance) : null),
      kvRole: own?.kv_role ?? null,
      pd: own === null ? await this.#pdOf(instance) : { protocol: 'tsukimi' },
    };
  }

  #pdOf(instance: Pick<PoolInstance, 'origin' | 'endpoint' | 'kind'>): Promise<PdFacts> {
    const { host } = instance.endpoint;
    const neighbours = this.#options.pool.instances.filter(
      ({ kind, endpoint, origin }) =>
        kind === 'prefill' && endpoint.host === host && origin !== instance.origin,
    );
    const hint = instance.endpoint.pd ?? this.#options.pd;
    return discoverPd(instance, hint, neighbours.length === 0, async (origin, path) => {
      try {
        // The key is for instances, and for nobody else who may listen on their hosts.
        const isInstance = origin === instance.origin;
        const { authorization } = this.#options;
        const { status, body } = await this.#get({ origin }, path, {
          authorization: isInstance ? authorization : null,
        });
        return status === 200 ? body : null;
      } catch {
        return null;
      }
    });
  }

  /** An engine of ours may have been started anew between two probes; others take longer to start. */
  async #isSameEngine(instance: PoolInstance): Promise<boolean> {
    const engineId = instance.identity?.engineId ?? null;
    if (instance.identity?.ours !== true || engineId === null) return true;
    const { status, body } = await this.#get(instance, '/tsukimi/instance');
    return status === 200 && parsed(instanceFacts, body)?.engine_id === engineId;
  }

  /** When the process of a foreign engine began, as Prometheus' client libraries tell; null if not told. */
  async #startOf(instance: Pick<PoolInstance, 'origin'>): Promise<string | null> {
    try {
      const { status, body } = await this.#get(instance, '/metrics');
      if (status !== 200) return null;
      return /^process_start_time_seconds (\S{1,64})$/m.exec(body)?.[1] ?? null;
    } catch {
      return null;
    }
  }

  async #round(instance: PoolInstance, watched: Watched): Promise<void> {
    const { clock, deadlines, random } = this.#options;
    watched.probing = true;
    await this.#probe(instance, watched);
    watched.probing = false;
    if (this.#watched.get(instance) !== watched) return;
    const share = 1 - jitter + (below(random, 1_000) / 1_000) * 2 * jitter;
    watched.scheduled = clock.schedule(deadlines.probePeriodMs * share, () => {
      void this.#round(instance, watched);
    });
  }

  async #probe(instance: PoolInstance, watched: Watched): Promise<void> {
    const { pool, clock, deadlines } = this.#options;
    const beganMs = clock.monotonicMs();
    try {
      if (instance.state.name === 'up') {
        await this.#checkHealth(instance);
        pool.probeSucceeded(instance);
        const { identifiedMs } = watched;
        const fresh = identifiedMs !== null && beganMs - identifiedMs < deadlines.identityPeriodMs;
        if (fresh && (await this.#isSameEngine(instance))) return;
      }
      const identity = await this.identify(instance, watched.identifiedMs === null);
      // Its API may answer while its model is still being loaded.
      await this.#checkHealth({ origin: instance.origin, identity });
      watched.identifiedMs = beganMs;
      if (this.#watched.get(instance) === watched) pool.identified(instance, identity);
    } catch (error) {
      if (this.#watched.get(instance) !== watched) return;
      watched.identifiedMs = null;
      const gone = error instanceof Fault && error.details['reason'] === 'connect';
      pool.probeFailed(instance, (error as Error).message, gone);
    }
  }

  /** Instances of ours tell readiness; of others only liveness is known. */
  async #checkHealth(instance: Pick<PoolInstance, 'origin' | 'identity'>): Promise<void> {
    const { identity } = instance;
    if (identity?.ours === true) {
      const { status } = await this.#get(instance, '/ready');
      if (status < 300) return;
      if (status !== 404) throw unusable(`/ready answers with status ${status}`);
    }
    const generates = identity !== null && generatesForHealth(identity);
    const patienceMs = generates ? generationPatienceMs : 0;
    const { status } = await this.#get(instance, '/health', { patienceMs });
    if (status >= 300 && status !== 404) throw unusable(`/health answers with status ${status}`);
  }

  #get(
    instance: Pick<PoolInstance, 'origin'>,
    path: string,
    { authorization = this.#options.authorization, patienceMs = 0 }: GetOptions = {},
  ): Promise<InstanceAnswer> {
    const withinMs = this.#options.deadlines.probeMs + patienceMs;
    return askInstance(this.#options, instance, { path, body: null, authorization, withinMs });
  }
}

function parsed<T>(schema: z.ZodType<T>, text: string): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
