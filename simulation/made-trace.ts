import { below, type Random } from '@tsukimi/base';
import type { Trace, TraceRequest } from './trace.ts';

export interface MadeTraceOptions {
  readonly requestCount: number;
  readonly random: Random;
  readonly blockTokens: number;
  readonly meanIntervalMs: number;
  /** Beginnings that many conversations share, as system prompts are. */
  readonly sharedPrefixCount: number;
  /** Of a first turn, without the shared beginning; each further turn adds some. */
  readonly turnTokensMean: number;
  readonly outputTokensMean: number;
  readonly inputTokensMax: number;
}

/** The chance that a request goes on with a conversation instead of beginning one. */
const goesOn = 0.6;

/** Conversations with shared beginnings, whose turns come in between those of others (Poisson). */
export function makeTrace(options: MadeTraceOptions): Trace {
  const { random, blockTokens } = options;
  const uniform = () => (random.uint32() + 0.5) / 2 ** 32;
  const exponential = (mean: number) => -Math.log(uniform()) * mean;
  let nextBlock = 0;
  const newBlocks = (count: number) => Array.from({ length: count }, () => nextBlock++);
  const shared = Array.from({ length: options.sharedPrefixCount }, () =>
    newBlocks(1 + below(random, 4)),
  );
  const conversations: { blocks: number[] }[] = [];
  const requests: TraceRequest[] = [];
  let atMs = 0;
  for (let index = 0; index < options.requestCount; index++) {
    const continued =
      uniform() < goesOn ? conversations[below(random, conversations.length)] : undefined;
    let before = continued?.blocks ?? shared[below(random, shared.length)] ?? [];
    const turnTokens = 1 + Math.floor(exponential(options.turnTokensMean));
    if (before.length * blockTokens + turnTokens > options.inputTokensMax) before = [];
    const inputTokens = Math.min(before.length * blockTokens + turnTokens, options.inputTokensMax);
    const wholeCount = Math.floor(inputTokens / blockTokens);
    const blocks = [...before, ...newBlocks(wholeCount - before.length)];
    // The next turn begins after the last whole block of this one.
    if (continued === undefined) conversations.push({ blocks });
    else continued.blocks = blocks;
    requests.push({
      atMs,
      inputTokens,
      outputTokens: 1 + Math.floor(exponential(options.outputTokensMean)),
      blocks: inputTokens % blockTokens === 0 ? blocks : [...blocks, ...newBlocks(1)],
    });
    atMs += exponential(options.meanIntervalMs);
  }
  return { name: 'made', blockTokens, requests };
}
