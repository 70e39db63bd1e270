import { isWithin, loadBound } from './bounded-load.ts';
import { handoverMs, meanResidentTokenCount, prefillMs, tokenMs } from './estimates.ts';
import { type Candidate, firstOf, isLessBusy, type Policy, type Snapshot } from './policy.ts';

/**
 * Of the time to compute the prompt with nothing cached: estimates that differ by less do not differ.
 * Without this, whoever was measured a little faster of late would get all that comes.
 */
const alikePart = 0.1;

/**
 * The instance at which the work should be done first. For a prompt that is the time to the first
 * token: waiting, then loading or computing, with what the instance should hold and what the store was
 * found to have. For decoding it is the time to the end of the answer: loading the prompt, then the
 * expected tokens at the pace that the load there allows. Of those that are alike in this, the one
 * that holds most. Above the bound on its load an instance is taken to hold nothing.
 */
export const kvAware: Policy = {
  reads: ['prefix', 'store'],
  choose: (snapshot) => {
    const { candidates, hitTokenCounts, request, work } = snapshot;
    const bound = loadBound(snapshot);
    const mean = meanResidentTokenCount(candidates);
    const msOf = (candidate: Candidate, at: number): number => {
      const held = isWithin(candidate, bound) ? (hitTokenCounts[at] ?? 0) : 0;
      const promptMs =
        work === 'decode'
          ? handoverMs(candidate, request, held)
          : prefillMs(candidate, request, held);
      if (work === 'prefill') return promptMs;
      return promptMs + request.outputTokenCount * tokenMs(candidate, request, mean);
    };
    const times = candidates.map(msOf);
    const leastMs = Math.min(...times);
    let best = candidates[times.indexOf(leastMs)] ?? firstOf(candidates);
    let bestHit = -1;
    const coldMs = (request.promptTokenCount * 1_000) / best.prefillTokensPerSecond;
    const enoughMs = leastMs + alikePart * coldMs;
    candidates.forEach((candidate, at) => {
      const held = hitTokenCounts[at] ?? 0;
      if ((times[at] as number) > enoughMs || held < bestHit) return;
      if (held === bestHit && !isLessBusy(candidate, best)) return;
      best = candidate;
      bestHit = held;
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
