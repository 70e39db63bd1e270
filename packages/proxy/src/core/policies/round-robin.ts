import { firstOf, type Policy } from './policy.ts';

/**
 * Everybody in turn, whatever they have to do: the one whose turn was longest ago. So it stays fair
 * when instances join, leave, or cannot be had for a while: nobody is asked twice in a row to make up
 * for it, and nobody is left out.
 */
export const roundRobin: Policy = {
  reads: [],
  choose: ({ candidates }) => {
    let best = firstOf(candidates);
    for (const candidate of candidates) {
      if (candidate.lastTurn < best.lastTurn) best = candidate;
    }
    return { instance: best, reason: 'turn', hitTokenCount: 0 };
  },
};
