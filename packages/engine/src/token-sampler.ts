import type { LlamaContext, LlamaModel, SamplerChain, SamplerStage } from '@tsukimi/llama';
import type { SamplingOptions } from './generation.ts';

export interface TokenSamplerOptions {
  readonly model: LlamaModel;
  readonly sampling: SamplingOptions;
  /** Used where the temperature is above 0. */
  readonly seed: number;
  readonly promptTokens: Int32Array;
  /** Tokens of prompt and output at most; penalties look back over all of them. */
  readonly tokenCountMax: number;
  /** These cannot be sampled until `allowBanned`. */
  readonly bannedTokens: readonly number[];
}

/** Below this logits divided by the temperature leave the range of a float. */
const temperatureMin = 0.01;

/**
 * The native sampler chain of one sequence: penalties, logit bias, top-k, top-p, min-p, temperature, draw.
 * The draw is made anew for each token, so that the token depends on logits, seed and index, and not on who
 * drew the tokens before.
 */
export class TokenSampler {
  readonly #chain: SamplerChain;
  readonly #seed: number | null;
  #bannedIndex: number | null = null;
  #hasDraw = false;

  constructor(options: TokenSamplerOptions) {
    const { model, sampling, tokenCountMax, bannedTokens } = options;
    const stages: SamplerStage[] = [];
    const penalizesPrompt = sampling.repetitionPenalty !== 1;
    if (penalizesPrompt) {
      stages.push(penalties(tokenCountMax, { repeat: sampling.repetitionPenalty }));
    }
    if (sampling.presencePenalty !== 0 || sampling.frequencyPenalty !== 0) {
      const { presencePenalty: presence, frequencyPenalty: frequency } = sampling;
      stages.push(penalties(tokenCountMax, { presence, frequency }));
    }
    if (sampling.logitBias.length > 0) {
      stages.push({ kind: 'logit-bias', biases: sampling.logitBias });
    }
    if (bannedTokens.length > 0) {
      this.#bannedIndex = stages.length;
      const biases = bannedTokens.map((token) => [token, Number.NEGATIVE_INFINITY] as const);
      stages.push({ kind: 'logit-bias', biases });
    }
    if (sampling.temperature === 0) stages.push({ kind: 'greedy' });
    else stages.push(...drawnStages(sampling));
    this.#seed = sampling.temperature === 0 ? null : options.seed;
    this.#chain = model.openChain(stages);
    if (penalizesPrompt) {
      for (const token of options.promptTokens) this.#chain.accept(token, 0);
    }
  }

  /** An output token that was sampled elsewhere. */
  accept(token: number): void {
    this.#chain.accept(token);
  }

  /** Samples output token `index` from a row of the context's last decode. */
  sample(context: LlamaContext, row: number, index: number): number {
    if (this.#seed !== null) {
      if (this.#hasDraw) this.#chain.remove(this.#chain.stageCount - 1);
      this.#chain.add({ kind: 'dist', seed: drawSeed(this.#seed, index) });
      this.#hasDraw = true;
    }
    return context.sample(this.#chain, row);
  }

  allowBanned(): void {
    if (this.#bannedIndex === null) return;
    this.#chain.remove(this.#bannedIndex);
    this.#bannedIndex = null;
  }

  close(): void {
    this.#chain.close();
  }
}

function penalties(
  lastCount: number,
  values: { repeat?: number; presence?: number; frequency?: number },
): SamplerStage {
  return { kind: 'penalties', lastCount, repeat: 1, presence: 0, frequency: 0, ...values };
}

function drawnStages({ topK, topP, minP, temperature }: SamplingOptions): SamplerStage[] {
  const stages: SamplerStage[] = [];
  if (topK > 0) stages.push({ kind: 'top-k', k: topK });
  if (topP < 1) stages.push({ kind: 'top-p', p: topP });
  if (minP > 0) stages.push({ kind: 'min-p', p: minP });
  stages.push({ kind: 'temperature', temperature: Math.max(temperature, temperatureMin) });
  return stages;
}

/** 32 well-mixed bits of seed and index (the finalizer of splitmix32); never what llama.cpp takes for "by chance". */
function drawSeed(seed: number, index: number): number {
  const high = Math.floor(seed / 2 ** 32);
  const mixed = mix(mix(mix(seed) + high) + Math.imul(index + 1, 0x9e3779b9));
  return mixed === 0xffffffff ? 0 : mixed;
}

function mix(value: number): number {
  let bits = (value + 0x9e3779b9) >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
  bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
  return (bits ^ (bits >>> 15)) >>> 0;
}
