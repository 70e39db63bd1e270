/**
 * What Tsukimi uses of llama.cpp, in llama.cpp's terms. One implementation calls the native library; the
 * seam is here so that the engine can be run without it. Every object is closed by hand, contexts and chains before
 * their model; a call on a closed object is a bug of the caller.
 */
export interface LlamaBackend {
  /** As the library reports it. */
  readonly version: string;
  /** Faults: NOT_FOUND, MALFORMED. */
  loadModel(path: string): Promise<LlamaModel>;
}

export interface LlamaModel {
  readonly info: ModelInfo;
  readonly vocabulary: Vocabulary;
  /** The model's own Jinja template; null when it has none. */
  readonly chatTemplate: string | null;
  tokenize(text: string, options: TokenizeOptions): Int32Array;
  /** The bytes of one token, perhaps part of a character. Control tokens are empty unless `special`. Do not modify. */
  piece(token: number, special?: boolean): Buffer;
  /** Text of tokens, with the model's own treatment of a leading space. */
  detokenize(tokens: ArrayLike<number>, special?: boolean): string;
  /** Fault NO_SPACE when the memory for the cells cannot be had. */
  openContext(options: ContextOptions): LlamaContext;
  openChain(stages: readonly SamplerStage[]): SamplerChain;
  /** Closes the contexts that are still open, then frees the weights. */
  close(): Promise<void>;
}

export interface ModelInfo {
  /** Such as `qwen2 1B Q8_0`. */
  readonly description: string;
  /** Name of the weights' file type, such as `Q8_0`. */
  readonly weightType: string;
  readonly byteCount: number;
  readonly parameterCount: number;
  /** Tokens of context the model was trained with. */
  readonly contextLength: number;
  readonly layerCount: number;
  readonly embeddingLength: number;
  /** `enum llama_rope_type`: -1 none, 0 normal, 2 NeoX, 8 and 40 multi-dimensional, 24 vision. */
  readonly ropeType: number;
  readonly ropeFrequencyScale: number;
  /** 0 when attention sees everything. */
  readonly slidingWindow: number;
  readonly recurrent: boolean;
  readonly hybrid: boolean;
  /** False for encoders, which cannot generate. */
  readonly decoder: boolean;
}

export interface Vocabulary {
  readonly size: number;
  readonly bosToken: number | null;
  readonly eosToken: number | null;
  /** All tokens that end a generation, ascending. */
  readonly eogTokens: readonly number[];
  /** Whether the model wants its BOS token before a text. */
  readonly addBos: boolean;
}

export interface TokenizeOptions {
  /** Adds BOS and EOS where the model is configured so. */
  readonly addSpecial: boolean;
  /** Reads control tokens such as `<|im_end|>` as such, not as text. */
  readonly parseSpecial: boolean;
}

export interface ContextOptions {
  /** Sequences, each with a stream of cells of its own. */
  readonly slots: number;
  /** Tokens that a slot holds; rounded up to a multiple of 256. */
  readonly cellsPerSlot: number;
  readonly threads: number;
  /** Rows of one `decode` at most. */
  readonly batchTokens: number;
}

/** Rows of a decode, in columns that are reused: fill the first `rowCount` entries, then call `decode`. */
export interface Batch {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  readonly sequences: Int32Array;
  /** 1 where the logits of a row will be sampled; at most `slots` rows of a decode. */
  readonly outputs: Int8Array;
}

export interface LlamaContext {
  readonly slots: number;
  readonly cellsPerSlot: number;
  readonly batchTokens: number;
  readonly batch: Batch;
  /**
   * Computes the first rows of the batch off the main thread; nothing else may be called meanwhile, except `close`. Fault INTERNAL
   * when it fails: then the cells of its sequences are in doubt.
   *
   * On a CPU the numbers of a row depend neither on other sequences nor on how many rows of its own sequence are computed with
   * it, as long as these are at least two: a row that is alone in its sequence differs in its last bits. The library computes
   * together as many rows of each sequence of a batch as its shortest has, so an even number of rows
   * of each sequence keeps them all at two and more.
   */
  decode(rowCount: number): Promise<void>;
  /** Samples from a row of the last decode and accepts the token in the chain. */
  sample(chain: SamplerChain, row: number): number;
  /** A copy of the logits of a row of the last decode; for tests and tools. */
  logits(row: number): Float32Array;
  /** Frees the cells [from, to) of a sequence; `to` -1 is its end. */
  removeCells(sequence: number, from: number, to: number): void;
  /** Bytes that `exportState` would write now. */
  stateByteCount(sequence: number): number;
  /** Writes the sequence to the start of `into`, which must have `stateByteCount`; gives the bytes written. */
  exportState(sequence: number, into: Buffer): Promise<number>;
  /** Replaces the sequence's cells. Fault MALFORMED when the library refuses; the sequence is empty then. */
  importState(sequence: number, from: Buffer): Promise<void>;
  /** Waits for what is in flight, then frees the cells. Harmless when repeated. */
  close(): Promise<void>;
}

/** One step of a sampler chain; the last stage of a chain selects (`greedy` or `dist`). */
export type SamplerStage =
  | {
      readonly kind: 'penalties';
      /** How many accepted tokens count. */
      readonly lastCount: number;
      /** 1 is off. */
      readonly repeat: number;
      /** 0 is off. */
      readonly frequency: number;
      /** 0 is off. */
      readonly presence: number;
    }
  | { readonly kind: 'logit-bias'; readonly biases: readonly (readonly [number, number])[] }
  | { readonly kind: 'top-k'; readonly k: number }
  | { readonly kind: 'top-p'; readonly p: number }
  | { readonly kind: 'min-p'; readonly p: number }
  | { readonly kind: 'temperature'; readonly temperature: number }
  | { readonly kind: 'greedy' }
  /** `seed` is 32 bits, and not 0xffffffff, which the library takes for chance. */
  | { readonly kind: 'dist'; readonly seed: number };

export interface SamplerChain {
  readonly stageCount: number;
  add(stage: SamplerStage): void;
  /** Takes the stage out and frees it; those behind it move up. */
  remove(index: number): void;
  /** Tells every stage, or the one named, of a token that was not sampled here. */
  accept(token: number, index?: number): void;
  close(): void;
}
