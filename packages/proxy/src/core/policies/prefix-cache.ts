import { isWithin, loadBound } from './bounded-load.ts';
import { firstOf, isLessBusy, loadOf, type Policy } from './policy.ts';

/**
 * Where the least is ahead of the request, its own prompt included but for the part that should be
 * cached there: a cached prefix attracts as much as it saves, and no more. Above the bound on its load
 * an instance attracts nothing.
 */
export const prefixCache: Policy = {
  reads: ['prefix'],
  choose: (snapshot) => {
    const { candidates, hitTokenCounts } = snapshot;
    const bound = loadBound(snapshot);
    let best = firstOf(candidates);
    let bestAhead = Number.POSITIVE_INFINITY;
    let bestHit = 0;
    let longestHit = 0;
    candidates.forEach((candidate, at) => {
      const held = hitTokenCounts[at] ?? 0;
      longestHit = Math.max(longestHit, held);
      const attraction = isWithin(candidate, bound) ? held : 0;
      const ahead = loadOf(candidate) - attraction;
      if (ahead < bestAhead || (ahead === bestAhead && isLessBusy(candidate, best))) {
        best = candidate;
        bestAhead = ahead;
        bestHit = held;
      }
    });
    const reason =
      longestHit === 0
        ? 'no_prefix'
        : bestHit === longestHit
          ? 'longest_prefix'
          : 'prefix_too_busy';
    return { instance: best, reason, hitTokenCount: bestHit };
  },
};
