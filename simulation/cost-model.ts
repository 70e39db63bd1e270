import { leastSquares } from './least-squares.ts';
import type { Profile } from './profile.ts';

/** Tokens `[from, to)` of a prompt that one step computes. */
export interface PromptSpan {
  readonly from: number;
  readonly to: number;
}

/**
 * How long an instance works, as sums of a few terms whose coefficients fit what was measured:
 *
 *     a step with prompt tokens [from, to)   fixed + perToken · (to − from) + perPair · (to² − from²) / 2
 *     a step with a batch that decodes       fixed + perSequence · batch + perResident · resident tokens
 *
 * `perPair` is attention, which looks back at all tokens before; `perResident` is the reading of
 * their KV. A step that does both takes the sum. All in milliseconds.
 */
export class CostModel {
  readonly prefillFixedMs: number;
  readonly prefillTokenMs: number;
  readonly prefillPairMs: number;
  readonly decodeFixedMs: number;
  readonly decodeSequenceMs: number;
  readonly decodeResidentMs: number;
  readonly #stepTokens: number;

  constructor(profile: Pick<Profile, 'prefill' | 'decode' | 'stepTokens'>) {
    this.#stepTokens = profile.stepTokens;
    const [fixed = 0, token = 0, pair = 0] = leastSquares(
      profile.prefill.map(({ tokens }) => [this.#stepCount(tokens), tokens, tokens ** 2 / 2]),
      profile.prefill.map(({ ms }) => ms),
    );
    this.prefillFixedMs = fixed;
    this.prefillTokenMs = token;
    this.prefillPairMs = pair;
    const steps = decodeSteps(profile, (tokens) => this.spanMs({ from: 0, to: tokens }));
    const [step = 0, sequence = 0, resident = 0] = leastSquares(
      steps.map(({ batch, residentTokens }) => [1, batch, residentTokens]),
      steps.map(({ ms }) => ms),
    );
    this.decodeFixedMs = step;
    this.decodeSequenceMs = sequence;
    this.decodeResidentMs = resident;
  }

  /** Of a prompt alone, in as many steps as it needs. */
  prefillMs({ from, to }: PromptSpan): number {
    return this.prefillFixedMs * this.#stepCount(to - from) + this.spanMs({ from, to });
  }

  /** Without the fixed part, which a step pays once for all its prompts. */
  spanMs({ from, to }: PromptSpan): number {
    return this.prefillTokenMs * (to - from) + (this.prefillPairMs * (to ** 2 - from ** 2)) / 2;
  }

  decodeStepMs(batch: number, residentTokens: number): number {
    return (
      this.decodeFixedMs + this.decodeSequenceMs * batch + this.decodeResidentMs * residentTokens
    );
  }

  #stepCount(tokens: number): number {
    return Math.ceil(tokens / this.#stepTokens);
  }
}

/**
 * What each measured load says about a decode step alone. Where prompts were computed in between
 * (`requestsPerSecond` is there), their `promptMs` is taken off the time between tokens, without the
 * fixed part of a step, which they share with it.
 */
export function decodeSteps(
  { decode }: Pick<Profile, 'decode'>,
  promptMs: (tokens: number) => number,
): { readonly batch: number; readonly residentTokens: number; readonly ms: number }[] {
  return decode.map(({ batch, inputTokens, outputTokens, msPerToken, requestsPerSecond = 0 }) => ({
    batch,
    residentTokens: batch * (inputTokens + outputTokens / 2),
    ms: msPerToken * (1 - (requestsPerSecond * promptMs(inputTokens)) / 1_000),
  }));
}
