import fc from 'fast-check';
import {
  type Candidate,
  noFacts,
  type RequestFacts,
  type Snapshot,
} from '../../src/core/policies/policy.ts';

/** An idle instance, but for what is given. */
export function candidate(order: number, given: Partial<Candidate> = {}): Candidate {
  return {
    order,
    activeRequestCount: 0,
    queuedTokenCount: 0,
    residentTokenCount: 0,
    elsewhereTokenCount: 0,
    lastTurn: 0,
    prefillTokensPerSecond: 1_000,
    decodeMsPerToken: 20,
    transferTokensPerSecond: 50_000,
    addressHash: order,
    ...given,
  };
}

export function snapshot<C extends Candidate>(
  candidates: readonly C[],
  given: Partial<Omit<Snapshot<C>, 'request' | 'candidates'>> & {
    readonly request?: Partial<RequestFacts>;
  } = {},
): Snapshot<C> {
  return {
    work: 'prefill',
    hitTokenCounts: candidates.map(() => 0),
    chance: 0,
    ...given,
    candidates,
    request: { ...noFacts, promptTokenCount: 100, outputTokenCount: 10, ...given.request },
  };
}

const anyCandidate = fc.record({
  activeRequestCount: fc.nat(20),
  queuedTokenCount: fc.nat(50_000),
  residentTokenCount: fc.nat(50_000),
  lastTurn: fc.nat(100),
  prefillTokensPerSecond: fc.double({ min: 0.1, max: 1e5, noNaN: true }),
  decodeMsPerToken: fc.double({ min: 0.1, max: 1e4, noNaN: true }),
  transferTokensPerSecond: fc.double({ min: 1, max: 1e7, noNaN: true }),
  addressHash: fc.nat(),
});

/** Any situation with one to 64 instances. */
export const anySnapshot = fc
  .record({
    candidates: fc.array(anyCandidate, { minLength: 1, maxLength: 64 }),
    promptTokenCount: fc.nat(100_000),
    outputTokenCount: fc.nat(4_096),
    storedTokenCount: fc.nat(100_000),
    sessionKey: fc.option(fc.string(), { nil: null }),
    hits: fc.array(fc.nat(100_000), { minLength: 64, maxLength: 64 }),
    chance: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    work: fc.constantFrom('prefill' as const, 'decode' as const, 'whole' as const),
  })
  .map(({ candidates, hits, chance, work, ...request }) =>
    snapshot(
      candidates.map((given, order) => candidate(order, given)),
      {
        work,
        chance,
        hitTokenCounts: hits
          .slice(0, candidates.length)
          .map((hit) => Math.min(hit, request.promptTokenCount)),
        request: {
          ...request,
          storedTokenCount: Math.min(request.storedTokenCount, request.promptTokenCount),
        },
      },
    ),
  );
