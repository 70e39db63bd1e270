const restartDelayMsMin = 200;
export const restartDelayMsMax = 10_000;
/** A child that lived this long starts anew with the shortest delay. */
export const settledAfterMs = 10_000;

/** How long to wait before each start of a child that keeps dying: doubled each time, up to a limit. */
export class RestartPolicy {
  #failureCount = 0;

  /** Milliseconds until the next start of a child that has just died after `livedMs`. */
  nextDelayMs(livedMs: number): number {
    if (livedMs >= settledAfterMs) this.#failureCount = 0;
    const delayMs = restartDelayMsMin * 2 ** this.#failureCount;
    this.#failureCount += 1;
    return Math.min(delayMs, restartDelayMsMax);
  }
}
