import type { Clock, Logger } from '@tsukimi/base';
import { generatesForHealth } from '../core/identity.ts';
import type { InstancePool } from '../core/instance-pool.ts';
import { servesAlone } from '../core/pd-facts.ts';
import type { PoolInstance } from '../core/pool-instance.ts';
import type { Deadlines } from '../deadlines.ts';
import type { Upstream } from '../upstream.ts';
import { askInstance } from './ask-instance.ts';

export interface GenerationProbeOptions {
  readonly pool: InstancePool;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly deadlines: Deadlines;
  /** `Bearer …`; null for none. */
  readonly authorization: string | null;
}

/** How long nobody else is sent to an instance that hangs. */
const openMs = 30_000;

/**
 * Finds out whether an instance whose probes are well still generates, where requests have waited there for
 * long: vLLM's `/health` answers while its engine hangs. It hangs if it neither answers a request for one
 * token nor counts a single token meanwhile in `/metrics`; without such counters it has the benefit of the
 * doubt, for it may be busy with long answers that nobody streams. SGLang's `/health` generates by itself.
 */
export class GenerationProbe {
  readonly #options: GenerationProbeOptions;
  readonly #asked = new Set<PoolInstance>();

  constructor(options: GenerationProbeOptions) {
    this.#options = options;
  }

  /** Opens the breaker of an instance that hangs. One probe at a time for each. */
  ask(instance: PoolInstance): void {
    const { identity, state, kind, breakers } = instance;
    if (this.#asked.has(instance) || state.name !== 'up' || !breakers[kind].closed) return;
    if (identity === null || generatesForHealth(identity) || !servesAlone(instance)) return;
    this.#asked.add(instance);
    void this.#hangs(instance).then((hangs) => {
      this.#asked.delete(instance);
      if (!hangs) return;
      const { pool, logger } = this.#options;
      logger.warn('proxy.instance_hangs', { kind, instance: instance.address });
      pool.openBreaker(instance, openMs);
    });
  }

  async #hangs(instance: PoolInstance): Promise<boolean> {
    const { pool, deadlines } = this.#options;
    const before = await this.#tokenCount(instance);
    if (before === null) return false;
    const body = JSON.stringify({ model: pool.model, prompt: 'a', max_tokens: 1 });
    const answer = await this.#answer(instance, '/v1/completions', body, deadlines.firstByteMs);
    return answer === null && (await this.#tokenCount(instance)) === before;
  }

  /** Of prompts and answers, since the instance was started; null if it does not tell. */
  async #tokenCount(instance: PoolInstance): Promise<number | null> {
    const { probeMs } = this.#options.deadlines;
    const text = await this.#answer(instance, '/metrics', null, probeMs);
    const counts = text?.matchAll(/^vllm:(?:prompt|generation)_tokens_total(?:\{.*\})? (\S+)/gm);
    const numbers = [...(counts ?? [])].map(([, count]) => Number(count));
    return numbers.length === 0 ? null : numbers.reduce((sum, count) => sum + count);
  }

  async #answer(
    instance: PoolInstance,
    path: string,
    body: string | null,
    withinMs: number,
  ): Promise<string | null> {
    const { authorization } = this.#options;
    try {
      const question = { path, body, authorization, withinMs };
      return (await askInstance(this.#options, instance, question)).body;
    } catch {
      return null;
    }
  }
}
