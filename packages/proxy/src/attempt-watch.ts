import type { Clock, Scheduled } from '@tsukimi/base';
import type { Leg } from './core/attempt.ts';
import type { PoolInstance } from './core/pool-instance.ts';
import type { Deadlines } from './deadlines.ts';

export interface AttemptWatchListener {
  onExpired(message: string): void;
  /** A long time has passed there with no answer since `sinceMs`, which may be right, or not. */
  onSilent(instance: PoolInstance, sinceMs: number): void;
  /** The client reads nothing any more. */
  onClientStalled(): void;
}

/** Clients that leave sooner than this were in a hurry. */
const patienceMs = 1_000;

/**
 * The deadlines of one try, stage by stage, on a single timer that looks now and then: a new stage and
 * bytes of a stream mostly only note the time. While nothing has come, an instance that also fails
 * its probes is given up early, since a hung process would else hold a request for minutes; so is one that
 * fails others though its probes are well, once its first byte would be late in a stream. While the
 * client reads nothing, only that is looked at.
 */
export class AttemptWatch {
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #firstByteMs: number;
  readonly #listener: AttemptWatchListener;
  #scheduled: Scheduled | null = null;
  #lookMs = 0;
  #sinceMs = 0;
  #limitMs = 0;
  #instance: PoolInstance | null = null;
  #leg: Leg = 'decode';
  #lastBytesMs: number | null = null;
  #pausedMs: number | null = null;

  /** `firstByteMs`: what a stream's first byte may take, for this prompt. */
  constructor(
    clock: Clock,
    deadlines: Deadlines,
    firstByteMs: number,
    listener: AttemptWatchListener,
  ) {
    this.#clock = clock;
    this.#deadlines = deadlines;
    this.#firstByteMs = firstByteMs;
    this.#listener = listener;
  }

  /** A stage begins that may take `limitMs`; it waits for `instance`, to answer `leg`. */
  enter(limitMs: number, instance: PoolInstance | null, leg: Leg): void {
    this.#sinceMs = this.#clock.monotonicMs();
    this.#limitMs = limitMs;
    this.#instance = instance;
    this.#leg = leg;
    this.#lastBytesMs = null;
    const delayMs = Math.min(limitMs, this.#deadlines.gapMs);
    if (this.#scheduled === null || this.#sinceMs + delayMs < this.#lookMs)
      this.#lookAfter(delayMs);
  }

  /** From the first call on, the gap between pieces counts. */
  sawBytes(): void {
    this.#lastBytesMs = this.#clock.monotonicMs();
  }

  /** The client is slow, which is not the instance's fault. */
  pause(): void {
    this.#pausedMs ??= this.#clock.monotonicMs();
  }

  resume(): void {
    this.#pausedMs = null;
    this.sawBytes();
  }

  cancel(): void {
    this.#scheduled?.cancel();
    this.#scheduled = null;
  }

  /** The client left; call after `cancel`. Perhaps it had waited in vain. */
  left(): void {
    if (this.#lastBytesMs !== null || this.#instance === null) return;
    const waitedMs = this.#clock.monotonicMs() - this.#sinceMs;
    if (waitedMs >= patienceMs) this.#listener.onSilent(this.#instance, this.#sinceMs);
  }

  #lookAfter(delayMs: number): void {
    this.#scheduled?.cancel();
    const waitMs = Math.max(1, Math.min(delayMs, this.#deadlines.gapMs));
    this.#lookMs = this.#clock.monotonicMs() + waitMs;
    this.#scheduled = this.#clock.schedule(waitMs, () => this.#look());
  }

  #fails(): boolean {
    return this.#instance?.breakers[this.#leg].closed === false;
  }

  #look(): void {
    this.#scheduled = null;
    const nowMs = this.#clock.monotonicMs();
    if (this.#pausedMs !== null) {
      const leftMs = this.#pausedMs + this.#deadlines.clientStallMs - nowMs;
      if (leftMs <= 0) this.#listener.onClientStalled();
      else this.#lookAfter(leftMs);
      return;
    }
    if (this.#lastBytesMs !== null) {
      const { gapMs } = this.#deadlines;
      const leftMs = this.#lastBytesMs + gapMs - nowMs;
      if (leftMs <= 0) this.#listener.onExpired(`sent nothing for ${gapMs} ms`);
      else this.#lookAfter(leftMs);
      return;
    }
    const { gapMs } = this.#deadlines;
    const waitedMs = nowMs - this.#sinceMs;
    const leftMs = this.#limitMs - waitedMs;
    const state = this.#instance?.state;
    if (leftMs <= 0) this.#listener.onExpired(`did not answer within ${this.#limitMs} ms`);
    else if (state?.name === 'down') {
      this.#listener.onExpired(`does not answer and is down: ${state.reason}`);
    } else if (this.#fails() && waitedMs >= this.#firstByteMs) {
      this.#listener.onExpired(
        `sent nothing for ${this.#firstByteMs} ms, and fails other requests`,
      );
    } else {
      if (this.#instance !== null && waitedMs >= gapMs) {
        this.#listener.onSilent(this.#instance, this.#sinceMs);
      }
      this.#lookAfter(leftMs);
    }
  }
}
