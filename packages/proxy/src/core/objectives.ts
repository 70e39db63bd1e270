import type { InstancePool } from './instance-pool.ts';
import type { RequestFacts } from './policies/policy.ts';
import type { PoolInstance } from './pool-instance.ts';

/** Milliseconds that answers should keep to; 0 for none. */
export interface Objectives {
  /** Until the first token. */
  readonly ttftMs: number;
  /** Between two tokens. */
  readonly tpotMs: number;
}

export interface Miss {
  readonly what: 'TTFT' | 'TPOT';
  readonly predictedMs: number;
  readonly objectiveMs: number;
}

/**
 * Which objective would be missed at even the best of the instances, by what was measured of them; null
 * when none. An instance with nothing to do always takes a request: otherwise one that was slow once
 * would never show that it is not any more.
 */
export function missedObjective(
  pool: Pick<InstancePool, 'up' | 'longestHit'>,
  request: RequestFacts,
  { ttftMs, tpotMs }: Objectives,
): Miss | null {
  const decode = pool.up('decode');
  const prefill = pool.up('prefill').length > 0 ? pool.up('prefill') : decode;
  if (ttftMs > 0) {
    const kind = prefill === decode ? 'decode' : 'prefill';
    const held = Math.max(request.storedTokenCount, pool.longestHit(kind, request));
    const computed = Math.max(0, request.promptTokenCount - held);
    const predictedMs = best(prefill, (one) => {
      const tokens = one.queuedTokenCount + one.elsewhereTokenCount + computed;
      return (tokens / one.prefillTokensPerSecond) * 1_000;
    });
    if (predictedMs > ttftMs) return { what: 'TTFT', predictedMs, objectiveMs: ttftMs };
  }
  if (tpotMs > 0) {
    const predictedMs = best(decode, (one) => one.decodeMsPerToken);
    if (predictedMs > tpotMs) return { what: 'TPOT', predictedMs, objectiveMs: tpotMs };
  }
  return null;
}

/** The least of all; 0 where somebody has nothing to do, or nobody is there to be asked. */
function best(candidates: readonly PoolInstance[], ms: (one: PoolInstance) => number): number {
  if (candidates.length === 0) return 0;
  let least = Number.POSITIVE_INFINITY;
  for (const one of candidates) {
    if (one.activeRequestCount === 0) return 0;
    least = Math.min(least, ms(one));
  }
  return least;
}
