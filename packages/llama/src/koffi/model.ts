import { assert, Fault } from '@tsukimi/base';
import type {
  ContextOptions,
  LlamaContext,
  LlamaModel,
  ModelInfo,
  SamplerChain,
  SamplerStage,
  TokenizeOptions,
  Vocabulary,
} from '../backend.ts';
import type { Bindings } from './bindings.ts';
import { KoffiContext } from './context.ts';
import { KoffiSamplerChain } from './sampler-chain.ts';
import type { ModelPointer, VocabPointer } from './structs.ts';

const pieceByteCountMax = 4_096;

export class KoffiModel implements LlamaModel {
  readonly info: ModelInfo;
  readonly vocabulary: Vocabulary;
  readonly chatTemplate: string | null;
  readonly #bindings: Bindings;
  readonly #pointer: ModelPointer;
  readonly #vocab: VocabPointer;
  /** By token, filled on first use: twice as fast as asking the library. */
  readonly #pieces: (Buffer | undefined)[];
  readonly #specialPieces: (Buffer | undefined)[];
  readonly #contexts = new Set<KoffiContext>();
  #open = true;

  constructor(bindings: Bindings, pointer: ModelPointer) {
    this.#bindings = bindings;
    this.#pointer = pointer;
    this.#vocab = bindings.call.llama_model_get_vocab(pointer) as VocabPointer;
    this.info = readInfo(bindings, pointer);
    this.vocabulary = readVocabulary(bindings, this.#vocab);
    this.chatTemplate = bindings.call.llama_model_chat_template(pointer, null) as string | null;
    this.#pieces = Array.from<Buffer | undefined>({ length: this.vocabulary.size });
    this.#specialPieces = Array.from<Buffer | undefined>({ length: this.vocabulary.size });
  }

  tokenize(text: string, { addSpecial, parseSpecial }: TokenizeOptions): Int32Array {
    assert(this.#open, 'the model is open');
    const bytes = Buffer.from(text);
    // A token is at least a byte, but for what the model adds around and a leading space.
    let tokens = new Int32Array(bytes.length + 8);
    for (let attempt = 0; attempt < 2; attempt++) {
      const count = this.#bindings.call.llama_tokenize(
        this.#vocab,
        bytes,
        bytes.length,
        tokens,
        tokens.length,
        addSpecial,
        parseSpecial,
      ) as number;
      if (count >= 0) return tokens.slice(0, count);
      if (count === -(2 ** 31)) throw new Fault('TOO_LARGE', 'the text has too many tokens');
      tokens = new Int32Array(-count);
    }
    throw new Fault('INTERNAL', 'llama_tokenize did not keep to the size it asked for');
  }

  piece(token: number, special = false): Buffer {
    const table = special ? this.#specialPieces : this.#pieces;
    assert(token >= 0 && token < table.length, 'a token is one of the vocabulary');
    return (table[token] ??= this.#readPiece(token, special));
  }

  detokenize(tokens: ArrayLike<number>, special = false): string {
    assert(this.#open, 'the model is open');
    const ids = Int32Array.from(tokens);
    for (const token of ids) {
      assert(token >= 0 && token < this.vocabulary.size, 'a token is one of the vocabulary');
    }
    let text = Buffer.allocUnsafe(16 * ids.length + 64);
    for (let attempt = 0; attempt < 2; attempt++) {
      const length = this.#bindings.call.llama_detokenize(
        this.#vocab,
        ids,
        ids.length,
        text,
        text.length,
        false,
        special,
      ) as number;
      if (length >= 0) return text.toString('utf8', 0, length);
      text = Buffer.allocUnsafe(-length);
    }
    throw new Fault('INTERNAL', 'llama_detokenize did not keep to the size it asked for');
  }

  openContext(options: ContextOptions): LlamaContext {
    assert(this.#open, 'the model is open');
    const context: KoffiContext = new KoffiContext(
      this.#bindings,
      this.#pointer,
      this.vocabulary.size,
      options,
      () => this.#contexts.delete(context),
    );
    this.#contexts.add(context);
    return context;
  }

  openChain(stages: readonly SamplerStage[]): SamplerChain {
    assert(this.#open, 'the model is open');
    return new KoffiSamplerChain(this.#bindings, this.vocabulary.size, stages);
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await Promise.all([...this.#contexts].map((context) => context.close()));
    this.#bindings.call.llama_model_free(this.#pointer);
  }

  #readPiece(token: number, special: boolean): Buffer {
    assert(this.#open, 'the model is open');
    const bytes = Buffer.allocUnsafe(pieceByteCountMax);
    const length = this.#bindings.call.llama_token_to_piece(
      this.#vocab,
      token,
      bytes,
      bytes.length,
      0,
      special,
    ) as number;
    assert(length >= 0, `a token has at most ${pieceByteCountMax} bytes`);
    return Buffer.from(bytes.subarray(0, length));
  }
}

function readInfo({ call }: Bindings, pointer: ModelPointer): ModelInfo {
  const description = Buffer.alloc(256);
  call.llama_model_desc(pointer, description, description.length);
  return {
    description: description.toString('utf8', 0, description.indexOf(0)),
    weightType: call.llama_ftype_name(call.llama_model_ftype(pointer)) as string,
    byteCount: Number(call.llama_model_size(pointer)),
    parameterCount: Number(call.llama_model_n_params(pointer)),
    contextLength: call.llama_model_n_ctx_train(pointer) as number,
    layerCount: call.llama_model_n_layer(pointer) as number,
    embeddingLength: call.llama_model_n_embd(pointer) as number,
    ropeType: call.llama_model_rope_type(pointer) as number,
    ropeFrequencyScale: call.llama_model_rope_freq_scale_train(pointer) as number,
    slidingWindow: call.llama_model_n_swa(pointer) as number,
    recurrent: call.llama_model_is_recurrent(pointer) as boolean,
    hybrid: call.llama_model_is_hybrid(pointer) as boolean,
    decoder: call.llama_model_has_decoder(pointer) as boolean,
  };
}

function readVocabulary({ call }: Bindings, vocab: VocabPointer): Vocabulary {
  const size = call.llama_vocab_n_tokens(vocab) as number;
  const eogTokens: number[] = [];
  for (let token = 0; token < size; token++) {
    if (call.llama_vocab_is_eog(vocab, token) as boolean) eogTokens.push(token);
  }
  const orNull = (token: number) => (token < 0 ? null : token);
  return {
    size,
    bosToken: orNull(call.llama_vocab_bos(vocab) as number),
    eosToken: orNull(call.llama_vocab_eos(vocab) as number),
    eogTokens,
    addBos: call.llama_vocab_get_add_bos(vocab) as boolean,
  };
}
