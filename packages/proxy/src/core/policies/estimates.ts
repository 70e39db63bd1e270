import type { Candidate, RequestFacts } from './policy.ts';

/**
 * Milliseconds from sending a prompt to an instance until it is computed there: what waits before it,
 * then loading what the store has beyond what the instance holds itself, then computing the rest.
 * (Mooncake's paper, FAST '25, algorithm 1, where the store takes the place of the instance with the
 * longest prefix.)
 */
export function prefillMs(
  candidate: Candidate,
  { promptTokenCount, storedTokenCount }: RequestFacts,
  hitTokenCount: number,
): number {
  const loaded = Math.max(0, storedTokenCount - hitTokenCount);
  // One token is always computed: its logits are needed.
  const computed = Math.max(1, promptTokenCount - hitTokenCount - loaded);
  return (
    ((candidate.queuedTokenCount + computed) * 1_000) / candidate.prefillTokensPerSecond +
    loaded * transferMsPerToken(candidate)
  );
}

/** Milliseconds until a decode instance has loaded a prompt that another one has computed. */
export function handoverMs(
  candidate: Candidate,
  request: RequestFacts,
  hitTokenCount: number,
): number {
  const missing = Math.max(0, request.promptTokenCount - hitTokenCount);
  return missing * transferMsPerToken(candidate);
}

/**
 * Milliseconds between two tokens of an answer with this request added: what was measured there,
 * stretched as its load would be above the mean of all candidates.
 */
export function tokenMs(
  candidate: Candidate,
  request: RequestFacts,
  meanResidentTokenCount: number,
): number {
  const added = Math.max(1, request.promptTokenCount + request.outputTokenCount);
  return (
    (candidate.decodeMsPerToken * (candidate.residentTokenCount + added)) /
    (meanResidentTokenCount + added)
  );
}

export function meanResidentTokenCount(candidates: readonly Candidate[]): number {
  let sum = 0;
  for (const { residentTokenCount } of candidates) sum += residentTokenCount;
  return sum / Math.max(1, candidates.length);
}

function transferMsPerToken({ transferTokensPerSecond }: Candidate): number {
  return 1_000 / transferTokensPerSecond;
}
