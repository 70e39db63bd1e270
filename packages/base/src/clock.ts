import { performance } from 'node:perf_hooks';
import type { CancelSignal } from './cancelling.ts';

/** Something that was asked for later and may still be called off. */
export interface Scheduled {
  cancel(): void;
}

/** The only way production code learns the time or asks to be woken. */
export interface Clock {
  /** Never goes back; for leases, deadlines and ages within this process. Milliseconds, fractional. */
  monotonicMs(): number;
  /** Unix time in milliseconds; for logs and for answers that show a date. */
  wallMs(): number;
  /** Calls `wake` once, at or after `delayMs` from now, unless cancelled first. */
  schedule(delayMs: number, wake: () => void): Scheduled;
}

export class SystemClock implements Clock {
  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  schedule(delayMs: number, wake: () => void): Scheduled {
    const timer = setTimeout(wake, delayMs);
    return { cancel: () => clearTimeout(timer) };
  }
}

/**
 * Time that stands still until the running turn of the event loop is over, for a core that asks for it
 * once a key: all that arrived together happens at the same moment, and the system is asked once.
 */
export class TurnClock implements Clock {
  readonly #clock: Clock;
  #nowMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  monotonicMs(): number {
    if (this.#nowMs === null) {
      this.#nowMs = this.#clock.monotonicMs();
      queueMicrotask(() => {
        this.#nowMs = null;
      });
    }
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  schedule(delayMs: number, wake: () => void): Scheduled {
    return this.#clock.schedule(delayMs, wake);
  }
}

/** Waits `delayMs`; ends at once, without an error, when `signal` fires. */
export function sleep(clock: Clock, delayMs: number, signal?: CancelSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      scheduled.cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const scheduled = clock.schedule(delayMs, end);
    signal?.addEventListener('abort', end, { once: true });
  });
}

/** Calls `act` every `periodMs`, never twice at once, until cancelled. `act` handles its own errors. */
export function every(clock: Clock, periodMs: number, act: () => void | Promise<void>): Scheduled {
  let cancelled = false;
  let scheduled: Scheduled;
  const tick = async () => {
    await act();
    if (!cancelled) scheduled = clock.schedule(periodMs, () => void tick());
  };
  scheduled = clock.schedule(periodMs, () => void tick());
  return {
    cancel() {
      cancelled = true;
      scheduled.cancel();
    },
  };
}
