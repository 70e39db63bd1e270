import { firstOf, type Policy } from './policy.ts';

/** Anybody, all as likely. */
export const random: Policy = {
  reads: ['chance'],
  choose: ({ candidates, chance }) => ({
    instance: candidates[Math.floor(chance * candidates.length)] ?? firstOf(candidates),
    reason: 'random',
    hitTokenCount: 0,
  }),
};
