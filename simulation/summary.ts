import type { Replay } from './cluster.ts';
import type { Outcome } from './journey.ts';

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export interface Objective {
  readonly ttftMs: number;
  readonly tpotMs: number;
}

export interface Summary {
  readonly answeredCount: number;
  readonly refusedCount: number;
  /** To the first token that the client sees. */
  readonly ttftMs: Percentiles;
  /** Between two tokens, as the mean of a request; those with a single one are left out. */
  readonly tpotMs: Percentiles;
  /** The part of all requests, refused ones too, that met both objectives. */
  readonly goodPart: number;
  /** Such requests a second. */
  readonly goodput: number;
  /** The part of the answered prompts' tokens that prefill did not compute. */
  readonly hitRate: number;
  /** What decode computed although prefill had, of the same. */
  readonly repeatedPart: number;
  /** What the policy took to be cached, of the same. */
  readonly predictedHitRate: number;
  readonly prefill: Balance;
  readonly decode: Balance;
}

/** Of the time that instances of one kind worked. */
interface Balance {
  /** Of the whole time, the mean over the instances. */
  readonly busyPart: number;
  /** The busiest over the mean: 1 is even. */
  readonly maxOverMean: number;
}

export function summarize(
  { outcomes, instances, durationMs }: Replay,
  objective: Objective,
): Summary {
  const answered = outcomes.filter(({ end }) => end === 'answered');
  const tpots = answered.filter(({ request }) => request.outputTokens > 1).map(tpotOf);
  const good = answered.filter(
    (one) => one.firstTokenMs <= objective.ttftMs && tpotOf(one) <= objective.tpotMs,
  );
  const inputTokens = sum(answered.map(({ request }) => request.inputTokens));
  const partOfInput = (of: (outcome: Outcome) => number) =>
    inputTokens === 0 ? 0 : sum(answered.map(of)) / inputTokens;
  const balance = (kind: string): Balance => {
    const busy = instances.filter((one) => one.kind === kind).map(({ busyMs }) => busyMs);
    const mean = sum(busy) / busy.length;
    return {
      busyPart: mean / durationMs,
      maxOverMean: mean === 0 ? 1 : Math.max(...busy) / mean,
    };
  };
  return {
    answeredCount: answered.length,
    refusedCount: outcomes.length - answered.length,
    ttftMs: percentiles(answered.map(({ firstTokenMs }) => firstTokenMs)),
    tpotMs: percentiles(tpots),
    goodPart: good.length / outcomes.length,
    goodput: (good.length / durationMs) * 1_000,
    hitRate: partOfInput(({ request, computedTokens }) => request.inputTokens - computedTokens),
    repeatedPart: partOfInput(({ repeatedTokens }) => repeatedTokens),
    predictedHitRate: partOfInput(({ predictedHitTokens }) => predictedHitTokens),
    prefill: balance('prefill'),
    decode: balance('decode'),
  };
}

export function tpotOf({ firstTokenMs, lastTokenMs, request }: Outcome): number {
  return request.outputTokens < 2 ? 0 : (lastTokenMs - firstTokenMs) / (request.outputTokens - 1);
}

/** By nearest rank; 0 of nothing. */
function percentiles(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((one, other) => one - other);
  const at = (part: number) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? 0;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
