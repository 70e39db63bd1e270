import type { Clock } from '@tsukimi/base';

/** So long at a time does such work keep calls waiting, all of it together. */
const sliceMs = 5;
/** What comes when so much is waiting is done at once. */
const waitingCountMax = 1_024;

/** Work that lets go of the processor now and then; what it returns is its result. */
export type Steps<T> = Generator<undefined, T>;

interface Waiting {
  /** Goes on for a slice; true when that was the end. */
  readonly slice: () => boolean;
}

/** Does work over all objects a slice at a time, so that other calls are answered in between. */
export class LongWork {
  readonly #clock: Clock;
  readonly #waiting: Waiting[] = [];
  #isRunning = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The result; a promise of it when the work takes longer than a slice, or others are at theirs. */
  run<T>(work: Steps<T>): T | Promise<T> {
    if (this.#waiting.length >= waitingCountMax) return toEnd(work);
    if (this.#waiting.length === 0) {
      const first = this.#slice(work);
      if (first.done === true) return first.value;
    }
    return new Promise((resolve, reject) => {
      const slice = (): boolean => {
        try {
          const result = this.#slice(work);
          if (result.done === true) resolve(result.value);
          return result.done === true;
        } catch (error) {
          reject(error);
          return true;
        }
      };
      this.#waiting.push({ slice });
      this.#goOn();
    });
  }

  #goOn(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#clock.schedule(0, () => {
      this.#isRunning = false;
      const first = this.#waiting.shift() as Waiting;
      // The others have their turns before it has its next.
      if (!first.slice()) this.#waiting.push(first);
      if (this.#waiting.length > 0) this.#goOn();
    });
  }

  #slice<T>(work: Steps<T>): IteratorResult<undefined, T> {
    const startMs = this.#clock.monotonicMs();
    for (;;) {
      const result = work.next();
      if (result.done === true || this.#clock.monotonicMs() - startMs >= sliceMs) return result;
    }
  }
}

function toEnd<T>(work: Steps<T>): T {
  for (;;) {
    const result = work.next();
    if (result.done === true) return result.value;
  }
}
