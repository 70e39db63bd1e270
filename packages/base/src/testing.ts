/** Test aids: time that moves when told, chance from a seed. */
import { performance } from 'node:perf_hooks';
import type { Clock, Scheduled } from './clock.ts';

interface Waiting {
  readonly atMs: number;
  readonly wake: () => void;
}

/** Stands still until `advance`. Wakes in order of time, then of asking. */
export class FakeClock implements Clock {
  #nowMs = 1_000;
  #waiting: Waiting[] = [];

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  schedule(delayMs: number, wake: () => void): Scheduled {
    const entry = { atMs: this.#nowMs + delayMs, wake };
    this.#waiting.push(entry);
    return {
      cancel: () => {
        this.#waiting = this.#waiting.filter((other) => other !== entry);
      },
    };
  }

  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (;;) {
      const due = this.#waiting
        .filter(({ atMs }) => atMs <= untilMs)
        .reduce<Waiting | null>(
          (first, entry) => (first === null || entry.atMs < first.atMs ? entry : first),
          null,
        );
      if (due === null) break;
      this.#waiting = this.#waiting.filter((entry) => entry !== due);
      this.#nowMs = due.atMs;
      due.wake();
    }
    this.#nowMs = untilMs;
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }
}

/** Polls real processes until `check` gives something, for tests that start them. Fails after `limitMs`. */
export async function eventually<T>(
  check: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  what: string,
  limitMs = 10_000,
): Promise<T> {
  const startMs = performance.now();
  let last: unknown;
  while (performance.now() - startMs < limitMs) {
    try {
      const value = await check();
      if (value !== null && value !== undefined && value !== false) return value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`waited ${limitMs} ms for ${what}`, { cause: last });
}
