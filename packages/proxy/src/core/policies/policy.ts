/** What a policy may know of an instance. Token counts are estimates. */
export interface Candidate {
  /** Grows by one with every instance that joins, and is never given twice. */
  readonly order: number;
  readonly activeRequestCount: number;
  /** Prompt tokens that were sent there and are still to be computed, without those it should have cached. */
  readonly queuedTokenCount: number;
  /** Prompt and expected output tokens of the requests that it decodes. */
  readonly residentTokenCount: number;
  /** Both of the above, of requests that other processes of the same proxy have sent there, as of late. */
  readonly elsewhereTokenCount: number;
  /** Of all choices so far, the number of the last one that fell on it; 0 before the first. */
  readonly lastTurn: number;
  /** As measured of late; a prior where nothing was. Always finite and above 0. */
  readonly prefillTokensPerSecond: number;
  readonly decodeMsPerToken: number;
  /** How fast it loads what another instance or the store has. */
  readonly transferTokensPerSecond: number;
  /** Unsigned 32-bit; the same for an address in every proxy. */
  readonly addressHash: number;
}

/** What a policy may know of the request. */
export interface RequestFacts {
  readonly promptTokenCount: number;
  /** What the answer is expected to have. */
  readonly outputTokenCount: number;
  /** The same for all requests of a session; null for none, and unless the policy reads `session`. */
  readonly sessionKey: string | null;
  /**
   * The blocks of the prompt from its beginning, each as a hash of all text up to its end (a signed
   * 32-bit integer); empty unless the policy reads `prefix`.
   */
  readonly blockHashes: readonly number[];
  readonly blockTokenCount: number;
  /**
   * Leading prompt tokens that the shared store is known to have; 0 where nobody knows, and unless the
   * policy reads `store`.
   */
  readonly storedTokenCount: number;
}

/** Of a request that nothing is known of. */
export const noFacts: RequestFacts = {
  promptTokenCount: 0,
  outputTokenCount: 0,
  sessionKey: null,
  blockHashes: [],
  blockTokenCount: 0,
  storedTokenCount: 0,
};

/** `whole`: a decode leg that computes its prompt too, since no prefill instance took part. */
export type Work = 'prefill' | 'decode' | 'whole';

export interface Snapshot<C extends Candidate = Candidate> {
  readonly work: Work;
  readonly request: RequestFacts;
  /** Those that may be chosen, by rising `order`; never empty. */
  readonly candidates: readonly C[];
  /**
   * For each candidate, how many leading prompt tokens it should have in its own cache. Empty unless
   * the policy reads `prefix`.
   */
  readonly hitTokenCounts: readonly number[];
  /** Uniform in [0, 1); only for a policy that reads `chance`. */
  readonly chance: number;
}

export interface Choice<C extends Candidate = Candidate> {
  readonly instance: C;
  /** A word or two for whoever looks at `/status/decisions`. */
  readonly reason: string;
  /** Leading prompt tokens that it should not need to compute. */
  readonly hitTokenCount: number;
}

/** Parts of a snapshot that cost something to find out. */
type Costly = 'chance' | 'prefix' | 'session' | 'store';

/** Chooses where a leg goes. */
export interface Policy {
  /** What else of a snapshot it wants filled in. */
  readonly reads: readonly Costly[];
  /** Pure: the same snapshot, the same choice. The snapshot is only lent: it is filled anew for the next. */
  choose<C extends Candidate>(snapshot: Snapshot<C>): Choice<C>;
}

/** All that is ahead of a new request at an instance, in tokens. */
export function loadOf(candidate: Candidate): number {
  return candidate.queuedTokenCount + candidate.residentTokenCount + candidate.elsewhereTokenCount;
}

/** Fewer tokens, then fewer requests, then whose turn was longest ago, then who joined first. */
export function isLessBusy(one: Candidate, other: Candidate): boolean {
  const difference = loadOf(one) - loadOf(other);
  if (difference !== 0) return difference < 0;
  if (one.activeRequestCount !== other.activeRequestCount) {
    return one.activeRequestCount < other.activeRequestCount;
  }
  return one.lastTurn === other.lastTurn ? one.order < other.order : one.lastTurn < other.lastTurn;
}

/** The first of `candidates`, of which there is at least one. */
export function firstOf<C>(candidates: readonly C[]): C {
  const [candidate] = candidates;
  if (candidate === undefined) throw new RangeError('a policy was asked to choose from nothing');
  return candidate;
}
