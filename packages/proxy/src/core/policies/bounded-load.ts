import { type Candidate, loadOf, type Snapshot } from './policy.ts';

/** How far above the mean an instance may be and still be given more for affinity's sake. */
const factor = 1.25;

/**
 * The load up to which an instance may be preferred for what it has in its cache: somewhat above the
 * mean that there will be with this request. So a prefix or a session that everybody wants spreads
 * over as many instances as it needs. The least busy instance is always below it. (Consistent hashing
 * with bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2018.)
 */
export function loadBound(snapshot: Snapshot): number {
  let sum = addedLoad(snapshot);
  for (const candidate of snapshot.candidates) sum += loadOf(candidate);
  return (factor * sum) / snapshot.candidates.length;
}

export function isWithin(candidate: Candidate, bound: number): boolean {
  return loadOf(candidate) <= bound;
}

/** What the request adds at most to the load of the instance that gets it. */
function addedLoad({ work, request }: Snapshot): number {
  const { promptTokenCount, outputTokenCount } = request;
  if (work === 'prefill') return promptTokenCount;
  return promptTokenCount + outputTokenCount + (work === 'whole' ? promptTokenCount : 0);
}
