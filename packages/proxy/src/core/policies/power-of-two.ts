import { firstOf, isLessBusy, type Policy } from './policy.ts';

/**
 * The less busy of two that chance picks. Nearly as even as looking at all, and several proxies that
 * know only their own load do not all run to the same instance (Mitzenmacher, 2001).
 */
export const powerOfTwo: Policy = {
  reads: ['chance'],
  choose: ({ candidates, chance }) => {
    const count = candidates.length;
    // One number serves both draws: where it falls, and where within that.
    const firstAt = Math.floor(chance * count);
    const within = chance * count - firstAt;
    const step = 1 + Math.floor(within * (count - 1));
    const one = candidates[firstAt] ?? firstOf(candidates);
    const other = candidates[(firstAt + step) % count] ?? one;
    return {
      instance: isLessBusy(other, one) ? other : one,
      reason: 'less_busy_of_two',
      hitTokenCount: 0,
    };
  },
};
