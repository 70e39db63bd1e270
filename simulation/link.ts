import type { Clock } from '@tsukimi/base';

export interface LinkOptions {
  readonly clock: Clock;
  readonly bytesPerSecond: number;
  /** For each transfer, whatever its size. */
  readonly fixedMs: number;
}

/** One direction of an instance's network: transfers go one after the other, at full speed. */
export class Link {
  readonly #options: LinkOptions;
  #freeAtMs = 0;
  byteCount = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** Calls `done` when the last byte has arrived. */
  transfer(byteCount: number, done: () => void): void {
    const { clock, bytesPerSecond, fixedMs } = this.#options;
    const nowMs = clock.monotonicMs();
    const durationMs = (byteCount / bytesPerSecond) * 1_000;
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + durationMs;
    this.byteCount += byteCount;
    clock.schedule(this.#freeAtMs - nowMs + fixedMs, done);
  }
}
