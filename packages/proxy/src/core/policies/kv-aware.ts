import { handoverMs, meanResidentTokenCount, prefillMs, tokenMs } from './estimates.ts';
import { firstOf, isLessBusy, type Policy, type Snapshot } from './policy.ts';

/**
 * The instance at which the work should be done first. For a prompt that is the time to the first
 * token: waiting, then loading or computing, with what the instance should hold and what the store was
 * found to have. For decoding it is the time to the end of the answer: loading the prompt, then the
 * expected tokens at the pace that the load there allows.
 */
export const kvAware: Policy = {
  reads: ['prefix'],
  choose: (snapshot) => {
    const { candidates, hitTokenCounts, request, work } = snapshot;
    const mean = meanResidentTokenCount(candidates);
    let best = firstOf(candidates);
    let bestMs = Number.POSITIVE_INFINITY;
    let bestHit = 0;
    candidates.forEach((candidate, at) => {
      const held = hitTokenCounts[at] ?? 0;
      let ms = 0;
      if (work === 'decode') ms += handoverMs(candidate, request, held);
      else ms += prefillMs(candidate, request, held);
      if (work !== 'prefill') ms += request.outputTokenCount * tokenMs(candidate, request, mean);
      if (ms < bestMs || (ms === bestMs && isLessBusy(candidate, best))) {
        best = candidate;
        bestMs = ms;
        bestHit = held;
      }
    });
    return {
      instance: best,
      reason: reasonOf(snapshot, bestHit),
      hitTokenCount: hitOf(snapshot, bestHit),
    };
  },
};

/** What need not be computed: held there, or in the store. For a hand-over all is. */
function hitOf({ request, work }: Snapshot, held: number): number {
  return work === 'decode' ? held : Math.max(held, request.storedTokenCount);
}

function reasonOf({ request, work }: Snapshot, held: number): string {
  if (work === 'decode') return 'least_time';
  if (held === 0 && request.storedTokenCount === 0) return 'least_wait';
  return held >= request.storedTokenCount ? 'held_prefix' : 'stored_prefix';
}
