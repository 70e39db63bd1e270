/** So many waits in vain, one after the other, and the next ones are short. */
const missCountMax = 3;
/** Every so many waits in vain, one is long again. */
const fullWaitPeriod = 16;
const shortWaitMs = 100;
/** Of the bound, where some blocks are there and others are not. */
const partialShare = 0.5;

/** What was in the store when an instance's answer had come. */
export type FirstLook = 'nothing' | 'some';

/**
 * How long it is worth waiting for keys. What comes usually comes within milliseconds; but an instance that
 * found the beginning of a prompt in the store itself may never store the rest, and one whose keys are
 * unlike those we compute never stores what we look for.
 */
export class Patience {
  readonly #boundMs: number;
  readonly #missCounts: Record<FirstLook, number> = { nothing: 0, some: 0 };

  constructor(boundMs: number) {
    this.#boundMs = boundMs;
  }

  /** For the next wait. */
  limitMs(look: FirstLook): number {
    const missCount = this.#missCounts[look];
    const isShort = missCount >= missCountMax && missCount % fullWaitPeriod !== 0;
    if (isShort) return Math.min(shortWaitMs, this.#boundMs);
    return look === 'some' ? this.#boundMs * partialShare : this.#boundMs;
  }

  /** Everything came in time. */
  found(look: FirstLook): void {
    this.#missCounts[look] = 0;
  }

  /** Something did not. True when it is one time too often. */
  missed(look: FirstLook): boolean {
    this.#missCounts[look] += 1;
    return this.#missCounts[look] === missCountMax;
  }
}
