import { Fault } from '@tsukimi/base';
import type { LlamaModel } from '@tsukimi/llama';
import { badField, type ChatRequest, type CompletionRequest } from '@tsukimi/openai-api';
import { ChatTemplate } from './chat-template.ts';

export interface ServedModelOptions {
  readonly model: LlamaModel;
  /** Under which clients may ask for it; the first is the one it is told by. */
  readonly names: readonly [string, ...string[]];
  /** Tokens of prompt and answer together. */
  readonly maxModelLen: number;
}

type ChatText = Pick<ChatRequest, 'messages' | 'addGenerationPrompt' | 'templateArguments'> & {
  readonly addSpecialTokens: boolean;
};

/** A loaded model as clients see it: its names, its length, and what turns their words into tokens. */
export class ServedModel {
  readonly name: string;
  readonly names: readonly string[];
  readonly maxModelLen: number;
  readonly #model: LlamaModel;
  readonly #template: ChatTemplate;

  constructor({ model, names, maxModelLen }: ServedModelOptions) {
    this.name = names[0];
    this.names = names;
    this.maxModelLen = maxModelLen;
    this.#model = model;
    const { bosToken, eosToken } = model.vocabulary;
    const textOf = (token: number | null) =>
      token === null ? '' : model.piece(token, true).toString('utf8');
    this.#template = new ChatTemplate({
      source: model.chatTemplate,
      bosText: textOf(bosToken),
      eosText: textOf(eosToken),
    });
  }

  /** Fault NOT_FOUND in OpenAI's words when it is another model that is asked for. */
  checkName(asked: string): void {
    if (this.names.includes(asked)) return;
    throw new Fault(
      'NOT_FOUND',
      `the model "${asked}" does not exist; ${this.name} is served here`,
      {
        details: { param: 'model', code: 'model_not_found' },
      },
    );
  }

  tokenizeText(text: string, addSpecialTokens: boolean): Int32Array {
    return this.#model.tokenize(text, { addSpecial: addSpecialTokens, parseSpecial: true });
  }

  /** Through the model's chat template, which writes the special tokens itself. */
  tokenizeChat(chat: ChatText): Int32Array {
    return this.tokenizeText(this.#template.render(chat), chat.addSpecialTokens);
  }

  detokenize(tokens: readonly number[]): string {
    this.#checkTokens('tokens', tokens);
    return this.#model.detokenize(tokens, true);
  }

  promptOf(request: CompletionRequest | ChatRequest): Int32Array {
    if ('messages' in request) return this.tokenizeChat(request);
    if (typeof request.prompt === 'string') {
      return this.tokenizeText(request.prompt, request.addSpecialTokens);
    }
    this.#checkTokens('prompt', request.prompt);
    return Int32Array.from(request.prompt);
  }

  /** Fault INVALID_ARGUMENT that names `param` when an id is none of this model's. */
  #checkTokens(param: string, tokens: readonly number[]): void {
    const { size } = this.#model.vocabulary;
    const wrong = tokens.find((token) => token >= size);
    if (wrong === undefined) return;
    throw badField(param, `${param}: ${wrong} is not a token of this model, which has ${size}`);
  }
}
