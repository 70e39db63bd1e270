import type { PoolInstance } from './pool-instance.ts';

export interface RetryBudgetOptions {
  /** Retries for each request, over all requests of the proxy. */
  readonly retriesPerRequest: number;
  /** Retries a second that are always allowed, so that a quiet proxy may retry too. */
  readonly retriesPerSecond: number;
  /** What is saved up at most, and available at first. */
  readonly savedMax: number;
}

/** How long failures are remembered, roughly: each such period halves their weight. */
const halvingMs = 10_000;

/**
 * Keeps an outage from being multiplied by retries: over all requests, these are a fraction of the
 * requests and a small floor. What the instance costs that fails most is free, since others can take
 * that over: a single broken instance never uses up the budget, however many requests meet it.
 */
export class RetryBudget {
  readonly #options: RetryBudgetOptions;
  readonly #failures = new Map<PoolInstance, number>();
  #saved: number;
  #refilledMs: number;
  #halvedMs: number;

  constructor(options: RetryBudgetOptions, nowMs: number) {
    this.#options = options;
    this.#saved = options.savedMax;
    this.#refilledMs = nowMs;
    this.#halvedMs = nowMs;
  }

  /** A request of a client has come. */
  requestBegan(): void {
    this.#save(this.#options.retriesPerRequest);
  }

  /**
   * Whether a request may be tried elsewhere after `instance` failed it. `again`: the same instance
   * failed the same request before.
   */
  allows(instance: PoolInstance, again: boolean, nowMs: number): boolean {
    this.#forget(nowMs);
    const count = (this.#failures.get(instance) ?? 0) + 1;
    this.#failures.set(instance, count);
    if (!again && this.#failsMost(count)) return true;
    this.#save(((nowMs - this.#refilledMs) / 1_000) * this.#options.retriesPerSecond);
    this.#refilledMs = nowMs;
    if (this.#saved < 1) return false;
    this.#saved -= 1;
    return true;
  }

  #save(count: number): void {
    this.#saved = Math.min(this.#options.savedMax, this.#saved + count);
  }

  #failsMost(count: number): boolean {
    for (const other of this.#failures.values()) if (other > count) return false;
    return true;
  }

  #forget(nowMs: number): void {
    if (nowMs - this.#halvedMs < halvingMs) return;
    const weight = 0.5 ** Math.floor((nowMs - this.#halvedMs) / halvingMs);
    this.#halvedMs = nowMs;
    for (const [instance, count] of this.#failures) {
      if (count * weight < 0.5) this.#failures.delete(instance);
      else this.#failures.set(instance, count * weight);
    }
  }
}
