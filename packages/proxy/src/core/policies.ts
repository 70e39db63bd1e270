/** What a policy may know of an instance. */
export interface Candidate {
  /** Grows by one with every instance that joins; the order in which turns are taken. */
  readonly order: number;
  readonly activeRequestCount: number;
  /** Estimated prompt tokens of the requests in progress. */
  readonly activeTokenCount: number;
}

export interface Snapshot<C extends Candidate = Candidate> {
  /** Those that may be chosen, by rising `order`; never empty. */
  readonly candidates: readonly C[];
  /** The `order` chosen last for this leg; -1 at first. */
  readonly lastOrder: number;
}

/** Chooses where a leg goes. Pure: the same snapshot, the same choice. */
export type Policy = <C extends Candidate>(snapshot: Snapshot<C>) => C;

/** Everybody in turn, whatever they have to do. */
export const roundRobin: Policy = ({ candidates, lastOrder }) =>
  candidates.find(({ order }) => order > lastOrder) ?? first(candidates);

/** The fewest requests in progress, then the fewest tokens, then whose turn it is. */
export const leastLoad: Policy = ({ candidates, lastOrder }) => {
  let best = first(candidates);
  for (const candidate of candidates) {
    if (comesBefore(candidate, best, lastOrder)) best = candidate;
  }
  return best;
};

export const policies = { round_robin: roundRobin, least_load: leastLoad } as const;
export type PolicyName = keyof typeof policies;

function comesBefore(one: Candidate, other: Candidate, lastOrder: number): boolean {
  if (one.activeRequestCount !== other.activeRequestCount) {
    return one.activeRequestCount < other.activeRequestCount;
  }
  if (one.activeTokenCount !== other.activeTokenCount) {
    return one.activeTokenCount < other.activeTokenCount;
  }
  const onesTurn = one.order > lastOrder;
  const othersTurn = other.order > lastOrder;
  return onesTurn === othersTurn ? one.order < other.order : onesTurn;
}

function first<C>(candidates: readonly C[]): C {
  const [candidate] = candidates;
  if (candidate === undefined) throw new RangeError('a policy was asked to choose from nothing');
  return candidate;
}
