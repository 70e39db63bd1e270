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

  /** A handler that does what `handler` does and is counted as `name`. */
  counted<A, R extends Outcome>(name: string, handler: (args: A) => R): (args: A) => R {
    const tally = { requests: 0, failures: 0 };
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
    const tally = { requests: 0, failures: 0, partialSuccesses: 0, items: 0, failedItems: 0 };
    this.batches.set(name, tally);
    return (args) => {
      const results = handler(args);
      let failedCount = 0;
      for (const result of results) if ('error' in result) failedCount += 1;
      tally.requests += 1;
      tally.items += results.length;
      tally.failedItems += failedCount;
      if (failedCount > 0) {
        if (failedCount === results.length) tally.failures += 1;
        else tally.partialSuccesses += 1;
      }
      return results;
    };
  }
}
