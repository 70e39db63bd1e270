import { type ChunkKeys, type ChunkSpan, tailStepCells } from './chunk-keys.ts';

/** What a reader asks the store for at once. */
export interface LookupPlan {
  readonly whole: readonly ChunkSpan[];
  /** Candidates for the rest after the last whole chunk, longest first. */
  readonly tails: readonly ChunkSpan[];
}

/** All whole chunks of the tokens, and the tails of the piece after them. */
export function planLookup(keys: ChunkKeys, tokenCount: number, chunkLength: number): LookupPlan {
  const whole = Array.from({ length: keys.wholeChunkCount }, (_, index) => keys.whole(index));
  return { whole, tails: planTails(keys, tokenCount, chunkLength, whole.length) };
}

/**
 * Where a stored sequence may end within chunk `index`: exactly where ours ends (the same prompt), or
 * at a multiple of 16 (what was generated after an earlier prompt). Longest first; never a whole chunk.
 */
export function planTails(
  keys: ChunkKeys,
  tokenCount: number,
  chunkLength: number,
  index: number,
): ChunkSpan[] {
  const rest = Math.min(tokenCount - index * chunkLength, chunkLength);
  const tails: ChunkSpan[] = [];
  if (rest <= 0) return tails;
  if (rest < chunkLength && rest % tailStepCells !== 0) tails.push(keys.span(index, rest));
  const longest = Math.floor(Math.min(rest, chunkLength - 1) / tailStepCells) * tailStepCells;
  for (let cells = longest; cells > 0; cells -= tailStepCells) tails.push(keys.span(index, cells));
  return tails;
}

/** A span that the store has, with what is needed to read it. */
export interface FoundSpan<Found> {
  readonly span: ChunkSpan;
  readonly found: Found;
}

/** The answers to a plan, in the plan's order; null is what the store does not have. */
export interface LookupAnswer<Found> {
  readonly whole: readonly (Found | null)[];
  readonly tails: readonly (Found | null)[];
}

/**
 * The longest chain without a gap. A chunk is of use only with all chunks before it. When a whole
 * chunk is missing, an earlier and shorter sequence may still end within it: `tailsOf` names the chunk
 * whose tails are worth asking for then, else it is null.
 */
export function chooseChain<Found>(
  plan: LookupPlan,
  answer: LookupAnswer<Found>,
): { readonly chain: FoundSpan<Found>[]; readonly tailsOf: number | null } {
  const chain: FoundSpan<Found>[] = [];
  for (const [index, span] of plan.whole.entries()) {
    const found = answer.whole[index] ?? null;
    if (found === null) return { chain, tailsOf: index };
    chain.push({ span, found });
  }
  const tail = chooseTail(plan.tails, answer.tails);
  if (tail !== null) chain.push(tail);
  return { chain, tailsOf: null };
}

/** The longest tail that is there. */
export function chooseTail<Found>(
  tails: readonly ChunkSpan[],
  answer: readonly (Found | null)[],
): FoundSpan<Found> | null {
  for (const [index, span] of tails.entries()) {
    const found = answer[index] ?? null;
    if (found !== null) return { span, found };
  }
  return null;
}

/**
 * What a writer of `cells` leading cells stores: all whole chunks, then the rest. The end of a prompt
 * is stored exactly, for the decode instance; the end of generated text at a multiple of 16.
 */
export function planSave(
  keys: ChunkKeys,
  cells: number,
  chunkLength: number,
  kind: 'prompt' | 'generated',
): ChunkSpan[] {
  const wholeCount = Math.floor(cells / chunkLength);
  const spans = Array.from({ length: wholeCount }, (_, index) => keys.whole(index));
  const rest = cells - wholeCount * chunkLength;
  const tail = kind === 'prompt' ? rest : Math.floor(rest / tailStepCells) * tailStepCells;
  if (tail > 0) spans.push(keys.span(wholeCount, tail));
  return spans;
}
