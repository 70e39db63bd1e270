import { type Clock, Fault, type Logger } from '@tsukimi/base';
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

/** One question, on its way. */
interface Inquiry {
  readonly beganMs: number;
  /** Until then, requests that were there before may wait for their first byte. */
  rightUntilMs: number;
}

/**
 * Finds out whether an instance whose probes are well still generates, where requests have waited there for
 * long: vLLM's `/health` answers while its engine hangs. It hangs if it neither answers a request for one
 * token nor counts a single token meanwhile in `/metrics`, although the time for all prompts before it is
 * over, one of which may be very long. It has the benefit of the doubt without such counters, for it may be busy
 * with long answers that nobody streams, and where it answers anything else. SGLang's `/health` generates
 * by itself.
 */
export class GenerationProbe {
  readonly #options: GenerationProbeOptions;
  readonly #inquiries = new Map<PoolInstance, Inquiry>();

  constructor(options: GenerationProbeOptions) {
    this.#options = options;
  }

  /**
   * Opens the breaker of an instance that hangs. One probe at a time for each. `sinceMs`, `untilMs`: a
   * request has waited there since then, and may wait until then, on the monotonic clock; longer where other
   * processes of this proxy have sent prompts too.
   */
  ask(instance: PoolInstance, sinceMs: number, untilMs: number): void {
    const running = this.#inquiries.get(instance);
    const { firstBytePerTokenMs } = this.#options.deadlines;
    const rightUntilMs = untilMs + instance.elsewhereTokenCount * firstBytePerTokenMs;
    if (running !== undefined) {
      if (sinceMs > running.beganMs) return;
      running.rightUntilMs = Math.max(running.rightUntilMs, rightUntilMs);
      return;
    }
    const { identity, state, kind, breakers } = instance;
    if (state.name !== 'up' || !breakers[kind].closed) return;
    if (identity === null || generatesForHealth(identity) || !servesAlone(instance)) return;
    const { pool, logger, clock } = this.#options;
    const inquiry = { beganMs: clock.monotonicMs(), rightUntilMs };
    this.#inquiries.set(instance, inquiry);
    void this.#hangs(instance, inquiry).then((hangs) => {
      this.#inquiries.delete(instance);
      if (!hangs) return;
      logger.warn('proxy.instance_hangs', { kind, instance: instance.address });
      pool.hangs(instance);
    });
  }

  async #hangs(instance: PoolInstance, inquiry: Inquiry): Promise<boolean> {
    const { pool, clock, deadlines, authorization } = this.#options;
    const before = await this.#tokenCount(instance);
    if (before === null) return false;
    try {
      await askInstance(this.#options, instance, {
        path: '/v1/completions',
        body: JSON.stringify({ model: pool.model, prompt: 'a', max_tokens: 1 }),
        authorization,
        // By then, whoever was there before has been looked at again.
        withinMs: Math.max(deadlines.firstByteMs, 2 * deadlines.gapMs),
        longerMs: () => inquiry.rightUntilMs - clock.monotonicMs(),
      });
      return false;
    } catch (error) {
      const silent = error instanceof Fault && error.details['reason'] === 'timeout';
      return silent && (await this.#tokenCount(instance)) === before;
    }
  }

  /** Of prompts and answers, since the instance was started; null if it does not tell. */
  async #tokenCount(instance: PoolInstance): Promise<number | null> {
    const { authorization, deadlines } = this.#options;
    const question = { path: '/metrics', body: null, authorization, withinMs: deadlines.probeMs };
    try {
      const { body } = await askInstance(this.#options, instance, question);
      const counts = body.matchAll(/^vllm:(?:prompt|generation)_tokens_total(?:\{.*\})? (\S+)/gm);
      const numbers = [...counts].map(([, count]) => Number(count));
      return numbers.length === 0 ? null : numbers.reduce((sum, count) => sum + count);
    } catch {
      return null;
    }
  }
}
