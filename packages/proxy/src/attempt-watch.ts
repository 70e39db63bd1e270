import type { Clock, Scheduled } from '@tsukimi/base';
import type { PoolInstance } from './core/pool-instance.ts';
import type { Deadlines } from './deadlines.ts';

export interface AttemptWatchOptions {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly instance: PoolInstance;
  /** Until the first bytes of a stream, or the whole of an answer. */
  readonly answerWithinMs: number;
  readonly onExpired: (message: string) => void;
  /** The client reads nothing any more. */
  readonly onClientStalled: () => void;
}

/**
 * The deadlines of one attempt, on a single timer that looks now and then: bytes of a stream only note
 * the time. While nothing has come, an instance that also fails its probes is given up early, since
 * a hung process would else hold a request for minutes.
 */
export class AttemptWatch {
  readonly #options: AttemptWatchOptions;
  readonly #startMs: number;
  #scheduled: Scheduled;
  #lastBytesMs: number | null = null;
  #pausedMs: number | null = null;

  constructor(options: AttemptWatchOptions) {
    this.#options = options;
    this.#startMs = options.clock.monotonicMs();
    this.#scheduled = this.#lookAfter(options.answerWithinMs);
  }

  /** From the first call on, the gap between pieces counts. */
  sawBytes(): void {
    this.#lastBytesMs = this.#options.clock.monotonicMs();
  }

  /** The client is slow, which is not the instance's fault. */
  pause(): void {
    this.#pausedMs ??= this.#options.clock.monotonicMs();
  }

  resume(): void {
    this.#pausedMs = null;
    this.sawBytes();
  }

  cancel(): void {
    this.#scheduled.cancel();
  }

  #lookAfter(delayMs: number): Scheduled {
    const { clock, deadlines } = this.#options;
    return clock.schedule(Math.max(1, Math.min(delayMs, deadlines.gapMs)), () => this.#look());
  }

  #look(): void {
    const { clock, deadlines, instance, answerWithinMs } = this.#options;
    const nowMs = clock.monotonicMs();
    if (this.#pausedMs !== null) {
      const leftMs = this.#pausedMs + deadlines.clientStallMs - nowMs;
      if (leftMs <= 0) this.#options.onClientStalled();
      else this.#scheduled = this.#lookAfter(leftMs);
      return;
    }
    if (this.#lastBytesMs !== null) {
      const leftMs = this.#lastBytesMs + deadlines.gapMs - nowMs;
      if (leftMs <= 0) this.#options.onExpired(`sent nothing for ${deadlines.gapMs} ms`);
      else this.#scheduled = this.#lookAfter(leftMs);
      return;
    }
    const leftMs = this.#startMs + answerWithinMs - nowMs;
    if (leftMs <= 0) this.#options.onExpired(`did not answer within ${answerWithinMs} ms`);
    else if (instance.state.name === 'down') {
      this.#options.onExpired(`does not answer and is down: ${instance.state.reason}`);
    } else this.#scheduled = this.#lookAfter(leftMs);
  }
}
