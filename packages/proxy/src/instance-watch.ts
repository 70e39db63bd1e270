import { type Clock, Ending, type Logger, type Scheduled, type Service } from '@tsukimi/base';
import { z } from 'zod';
import type { Identity, InstancePool, PoolInstance } from './core/instance-pool.ts';
import type { Deadlines } from './deadlines.ts';
import type { Upstream } from './upstream.ts';

export interface InstanceWatchOptions {
  readonly pool: InstancePool;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly deadlines: Deadlines;
  /** `Bearer …`; null for none. */
  readonly authorization: string | null;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

const probeByteCountMax = 2 ** 20;

const modelList = z.object({ data: z.array(z.looseObject({ id: z.string() })).max(1_024) });
/** What an instance of ours says of itself; fields that a later version may drop are optional. */
const instanceFacts = z.object({
  fingerprint: z.string().nullish(),
  tensor_parallel_size: z.number().int().positive().nullish(),
});

/**
 * Asks every instance, again and again, whether it is well and who it is. An instance that did not
 * answer, or was gone, is asked who it is before it is used: another one may have come up there.
 */
export class InstanceWatch implements Service {
  readonly name = 'instance watch';
  readonly #options: InstanceWatchOptions;
  readonly #ending = new Ending();
  readonly #scheduled = new Map<PoolInstance, Scheduled>();
  readonly #identifiedMs = new Map<PoolInstance, number>();
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
    for (const scheduled of this.#scheduled.values()) scheduled.cancel();
    this.#scheduled.clear();
    await this.#options.upstream.close();
    this.#ending.stopped();
  }

  /** Resolves after the first probe; goes on until `stop`. */
  async watch(instance: PoolInstance): Promise<void> {
    const { clock, deadlines } = this.#options;
    await this.#probe(instance);
    if (this.#stopped) return;
    this.#scheduled.set(
      instance,
      clock.schedule(deadlines.probePeriodMs, () => void this.watch(instance)),
    );
  }

  /** Who answers there. Rejects with a reason for people when nobody does, or nobody we can use. */
  async identify(instance: Pick<PoolInstance, 'address'>): Promise<Identity> {
    const [models, facts] = await Promise.all([
      this.#get(instance, '/v1/models'),
      this.#get(instance, '/tsukimi/instance'),
    ]);
    if (models.status !== 200) throw new Error(`/v1/models answers with status ${models.status}`);
    const list = parsed(modelList, models.body);
    if (list === null) throw new Error('/v1/models does not answer with a list of models');
    const own = facts.status === 200 ? parsed(instanceFacts, facts.body) : null;
    return {
      models: list.data,
      modelIds: list.data.map(({ id }) => id),
      ours: own !== null,
      fingerprint: own?.fingerprint ?? null,
      tensorParallelSize: own?.tensor_parallel_size ?? null,
    };
  }

  async #probe(instance: PoolInstance): Promise<void> {
    const { pool, clock, deadlines } = this.#options;
    try {
      if (instance.state.name === 'up') {
        await this.#checkHealth(instance);
        pool.probeSucceeded(instance);
        const ageMs = clock.monotonicMs() - (this.#identifiedMs.get(instance) ?? 0);
        if (ageMs < deadlines.identityPeriodMs) return;
      }
      const identity = await this.identify(instance);
      // Its API may answer while its model is still being loaded.
      await this.#checkHealth({ address: instance.address, identity });
      this.#identifiedMs.set(instance, clock.monotonicMs());
      pool.identified(instance, identity);
    } catch (error) {
      if (!this.#stopped) pool.probeFailed(instance, (error as Error).message);
    }
  }

  /** Instances of ours tell readiness; of others only liveness is known. */
  async #checkHealth(instance: Pick<PoolInstance, 'address' | 'identity'>): Promise<void> {
    if (instance.identity?.ours === true) {
      const { status } = await this.#get(instance, '/ready');
      if (status < 300) return;
      if (status !== 404) throw new Error(`/ready answers with status ${status}`);
    }
    const { status } = await this.#get(instance, '/health');
    if (status >= 300 && status !== 404) throw new Error(`/health answers with status ${status}`);
  }

  #get(instance: Pick<PoolInstance, 'address'>, path: string): Promise<Answer> {
    const { upstream, clock, deadlines, authorization } = this.#options;
    return new Promise((resolve, reject) => {
      const pieces: Buffer[] = [];
      let byteCount = 0;
      let answerStatus = 0;
      const expiry = clock.schedule(deadlines.probeMs, () =>
        fail(`does not answer ${path} within ${deadlines.probeMs} ms`),
      );
      const fail = (reason: string) => {
        expiry.cancel();
        call.abort();
        reject(new Error(reason));
      };
      const call = upstream.send(
        instance,
        {
          method: 'GET',
          path,
          headers: authorization === null ? [] : ['authorization', authorization],
          body: null,
        },
        {
          onHead: (status) => {
            answerStatus = status;
          },
          onData: (bytes) => {
            byteCount += bytes.length;
            if (byteCount > probeByteCountMax) fail(`${path} answers with too many bytes`);
            else pieces.push(bytes);
          },
          onEnd: () => {
            expiry.cancel();
            resolve({ status: answerStatus, body: Buffer.concat(pieces).toString('utf8') });
          },
          onFailure: (_reason, message) => {
            expiry.cancel();
            reject(new Error(message));
          },
        },
      );
    });
  }
}

function parsed<T>(schema: z.ZodType<T>, text: string): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
