import { assert } from '@tsukimi/base';
import type { SamplerChain, SamplerStage } from '../backend.ts';
import type { Bindings } from './bindings.ts';
import type { SamplerPointer } from './structs.ts';

/** Owns a native chain, which owns its stages. */
export class KoffiSamplerChain implements SamplerChain {
  readonly #bindings: Bindings;
  readonly #vocabularySize: number;
  readonly #pointer: SamplerPointer;
  #stageCount = 0;
  #open = true;

  constructor(bindings: Bindings, vocabularySize: number, stages: readonly SamplerStage[]) {
    this.#bindings = bindings;
    this.#vocabularySize = vocabularySize;
    this.#pointer = bindings.call.llama_sampler_chain_init({ no_perf: true }) as SamplerPointer;
    for (const stage of stages) this.add(stage);
  }

  get stageCount(): number {
    return this.#stageCount;
  }

  /** For `llama_sampler_sample`. */
  get pointer(): SamplerPointer {
    assert(this.#open, 'a sampler chain is open');
    return this.#pointer;
  }

  add(stage: SamplerStage): void {
    this.#bindings.call.llama_sampler_chain_add(this.pointer, this.#create(stage));
    this.#stageCount++;
  }

  remove(index: number): void {
    assert(index >= 0 && index < this.#stageCount, 'the stage to remove exists');
    const { call } = this.#bindings;
    call.llama_sampler_free(call.llama_sampler_chain_remove(this.pointer, index));
    this.#stageCount--;
  }

  accept(token: number, index?: number): void {
    const { call } = this.#bindings;
    // Index -1 would be the chain itself, as `llama_sampler_chain_get` has it.
    const target =
      index === undefined ? this.pointer : call.llama_sampler_chain_get(this.pointer, index);
    call.llama_sampler_accept(target, token);
  }

  close(): void {
    if (!this.#open) return;
    this.#bindings.call.llama_sampler_free(this.#pointer);
    this.#open = false;
  }

  #create(stage: SamplerStage): SamplerPointer {
    const { call } = this.#bindings;
    switch (stage.kind) {
      case 'penalties':
        return call.llama_sampler_init_penalties(
          this.#vocabularySize,
          stage.lastCount,
          stage.repeat,
          stage.frequency,
          stage.presence,
        ) as SamplerPointer;
      case 'logit-bias':
        return call.llama_sampler_init_logit_bias(
          this.#vocabularySize,
          stage.biases.length,
          biasBytes(stage.biases),
        ) as SamplerPointer;
      case 'top-k':
        return call.llama_sampler_init_top_k(stage.k) as SamplerPointer;
      case 'top-p':
        return call.llama_sampler_init_top_p(stage.p, 1) as SamplerPointer;
      case 'min-p':
        return call.llama_sampler_init_min_p(stage.p, 1) as SamplerPointer;
      case 'temperature':
        return call.llama_sampler_init_temp(stage.temperature) as SamplerPointer;
      case 'greedy':
        return call.llama_sampler_init_greedy() as SamplerPointer;
      case 'dist':
        return call.llama_sampler_init_dist(stage.seed) as SamplerPointer;
    }
  }
}

/** `llama_logit_bias[]`: i32 token, f32 bias. The library copies it. */
function biasBytes(biases: readonly (readonly [number, number])[]): Buffer {
  const bytes = Buffer.alloc(Math.max(8, 8 * biases.length));
  biases.forEach(([token, bias], index) => {
    bytes.writeInt32LE(token, 8 * index);
    bytes.writeFloatLE(bias, 8 * index + 4);
  });
  return bytes;
}
