import { mixed, textHash } from '../block-hashes.ts';
import { isWithin, loadBound } from './bounded-load.ts';
import { leastLoad } from './least-load.ts';
import type { Candidate, Policy } from './policy.ts';

/**
 * All requests of a session to the same instance, by rendezvous hashing (Thaler and Ravishankar, 1998)
 * over the addresses: several proxies agree without talking, and an instance that comes or goes moves
 * only its own sessions. While that instance has more than its bounded share to do, the next one in
 * the session's own order takes the request.
 */
export const session: Policy = {
  reads: ['session', 'prefix'],
  choose: (snapshot) => {
    const { candidates, hitTokenCounts, request } = snapshot;
    if (request.sessionKey === null) return { ...leastLoad.choose(snapshot), reason: 'no_session' };
    const bound = loadBound(snapshot);
    const key = textHash(request.sessionKey);
    let bestAt = -1;
    let bestWeight = -1;
    let topWeight = -1;
    candidates.forEach((candidate, at) => {
      const weight = weightOf(candidate, key);
      topWeight = Math.max(topWeight, weight);
      if (weight <= bestWeight || !isWithin(candidate, bound)) return;
      bestAt = at;
      bestWeight = weight;
    });
    const instance = candidates[bestAt];
    if (instance === undefined)
      return { ...leastLoad.choose(snapshot), reason: 'session_too_busy' };
    return {
      instance,
      reason: bestWeight === topWeight ? 'session' : 'session_too_busy',
      hitTokenCount: hitTokenCounts[bestAt] ?? 0,
    };
  },
};

function weightOf({ addressHash }: Candidate, key: number): number {
  return mixed(addressHash ^ key);
}
