import { Fault } from '@tsukimi/base';

export interface IoQueueLimits {
  readonly runningCountMax: number;
  readonly waitingCountMax: number;
}

/** Lets so many accesses to disks run at once, and so many wait; one more is refused as `OVERLOADED`. */
export class IoQueue {
  readonly #limits: IoQueueLimits;
  #runningCount = 0;
  #waiting: (() => void)[] = [];

  constructor(limits: IoQueueLimits) {
    this.#limits = limits;
  }

  async run<T>(act: () => Promise<T>): Promise<T> {
    const { runningCountMax, waitingCountMax } = this.#limits;
    if (this.#runningCount >= runningCountMax) {
      if (this.#waiting.length >= waitingCountMax) {
        throw new Fault('OVERLOADED', `${waitingCountMax} accesses wait for the disk already`);
      }
      // Whoever ends hands its place over.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#runningCount += 1;
    try {
      return await act();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#runningCount -= 1;
      else next();
    }
  }
}
