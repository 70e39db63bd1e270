import type { Expected } from '@tsukimi/wire';

/** Calls of one kind since the start. */
export interface CallTally {
  requests: number;
  failures: number;
}

/** Batch calls of one kind: a failure is a batch in which nothing succeeded. */
export interface BatchTally extends CallTally {
  partialSuccesses: number;
  items: number;
  failedItems: number;
}

type Outcome = Expected<unknown>;

/** Counts calls by the names that Mooncake's metrics have for them. */
export class CallTallies {
  readonly calls = new Map<string, CallTally>();
  readonly batches = new Map<string, BatchTally>();

  /** A handler that does what `handler` does and is counted as `name`, perhaps beside others. */
  counted<A, R extends Outcome>(name: string, handler: (args: A) => R): (args: A) => R {
    const tally = this.calls.get(name) ?? { requests: 0, failures: 0 };
    this.calls.set(name, tally);
    return (args) => {
      tally.requests += 1;
      const result = handler(args);
      if ('error' in result) tally.failures += 1;
      return result;
    };
  }

  countedBatch<A, R extends readonly Outcome[]>(
    name: string,
    handler: (args: A) => R,
  ): (args: A) => R {
    const tally = this.#batch(name);
    return (args) => {
      const results = handler(args);
      let failedCount = 0;
      for (const result of results) if ('error' in result) failedCount += 1;
      count(tally, results.length, failedCount);
      return results;
    };
  }

  /** A batch of `sizeOf(args)` items that is answered with the list of those that succeeded. */
  countedSelection<A, R extends Expected<readonly unknown[]>>(
    name: string,
    sizeOf: (args: A) => number,
    handler: (args: A) => R,
  ): (args: A) => R {
    const tally = this.#batch(name);
    return (args) => {
      const result = handler(args);
      const size = sizeOf(args);
      count(tally, size, size - ('ok' in result ? result.ok.length : 0));
      return result;
    };
  }

  #batch(name: string): BatchTally {
    const tally = { requests: 0, failures: 0, partialSuccesses: 0, items: 0, failedItems: 0 };
    this.batches.set(name, tally);
    return tally;
  }
}

function count(tally: BatchTally, itemCount: number, failedCount: number): void {
  tally.requests += 1;
  tally.items += itemCount;
  tally.failedItems += failedCount;
  if (failedCount === 0) return;
  if (failedCount === itemCount) tally.failures += 1;
  else tally.partialSuccesses += 1;
}
