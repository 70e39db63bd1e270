import { firstOf, isLessBusy, type Policy } from './policy.ts';

/** The fewest tokens ahead, then the fewest requests, then whose turn it is. */
export const leastLoad: Policy = {
  reads: [],
  choose: ({ candidates }) => {
    let best = firstOf(candidates);
    for (const candidate of candidates) {
      if (isLessBusy(candidate, best)) best = candidate;
    }
    return { instance: best, reason: 'least_load', hitTokenCount: 0 };
  },
};
