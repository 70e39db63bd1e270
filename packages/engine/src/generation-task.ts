import type { LlamaModel } from '@tsukimi/llama';
import type { RequestId } from './core/scheduler.ts';
import { EventQueue } from './event-queue.ts';
import type { FinishReason, GenerationEvent, GenerationRequest } from './generation.ts';
import { OutputText } from './output-text.ts';
import { TokenSampler } from './token-sampler.ts';

export interface Finish {
  readonly reason: FinishReason;
  readonly stopReason: string | number | null;
}

export interface Appended {
  /** What may be shown now. */
  readonly text: string;
  readonly finish: Finish | null;
}

export interface GenerationTaskOptions {
  readonly id: RequestId;
  readonly request: GenerationRequest;
  readonly model: LlamaModel;
  /** Tokens of prompt and output at most. */
  readonly contextLength: number;
  readonly seed: number;
  /** The consumer or the signal called it off. */
  readonly onCancelled: () => void;
}

/** One request: its tokens, its text so far, and when it is over. Knows nothing of slots and steps. */
export class GenerationTask {
  readonly id: RequestId;
  readonly request: GenerationRequest;
  readonly events: EventQueue<GenerationEvent>;
  readonly promptCount: number;
  /** Leading tokens whose KV is known to be in the store: loaded from it, or saved. */
  storedCells = 0;
  cachedTokens = 0;
  readonly #options: GenerationTaskOptions;
  readonly #text: OutputText;
  readonly #tokens: Int32Array;
  readonly #eogTokens: ReadonlySet<number>;
  readonly #cancelling = new AbortController();
  #length: number;
  #sampler: TokenSampler | null = null;

  constructor(options: GenerationTaskOptions) {
    const { id, request, model, contextLength } = options;
    this.#options = options;
    this.id = id;
    this.request = request;
    this.promptCount = request.promptTokens.length;
    this.#length = this.promptCount;
    this.#tokens = new Int32Array(Math.min(contextLength, this.promptCount + request.maxTokens));
    this.#tokens.set(request.promptTokens);
    this.#eogTokens = new Set(model.vocabulary.eogTokens);
    this.#text = new OutputText(request.stop);
    this.events = new EventQueue(request.maxTokens + 1, () => this.cancel());
  }

  /** Prompt and output so far. */
  get tokens(): Int32Array {
    return this.#tokens.subarray(0, this.#length);
  }

  get outputCount(): number {
    return this.#length - this.promptCount;
  }

  /** Fires when nobody wants the output any more. */
  get cancelled(): AbortSignal {
    return this.#cancelling.signal;
  }

  cancel(): void {
    if (this.#cancelling.signal.aborted) return;
    this.#cancelling.abort();
    this.#options.onCancelled();
  }

  /** Takes over the output of before; gives the reason if it was already complete. Its text is not shown again. */
  replay(): Finish | null {
    for (const token of this.request.resumeTokens ?? []) {
      const { finish } = this.append(token);
      if (finish !== null) return finish;
    }
    return null;
  }

  /** Native memory from here to `close`. */
  open(): void {
    const { request, model, seed } = this.#options;
    const banned = this.outputCount < request.minTokens ? model.vocabulary.eogTokens : [];
    this.#sampler = new TokenSampler({
      model,
      sampling: request.sampling,
      seed,
      promptTokens: request.promptTokens,
      tokenCountMax: this.#tokens.length,
      bannedTokens: banned,
    });
    for (const token of this.tokens.subarray(this.promptCount)) this.#sampler.accept(token);
  }

  get sampler(): TokenSampler | null {
    return this.#sampler;
  }

  /** One more output token. */
  append(token: number): Appended {
    const { model, request } = this.#options;
    this.#tokens[this.#length++] = token;
    const ends = this.#eogTokens.has(token) && !request.ignoreEos;
    if (ends) return this.#over('', { reason: 'stop', stopReason: null });
    const checksStops = this.outputCount > request.minTokens;
    const { text, stop } = this.#text.push(model.piece(token), checksStops);
    if (stop !== null) return { text, finish: { reason: 'stop', stopReason: stop } };
    if (this.outputCount >= request.maxTokens || this.#length >= this.#tokens.length) {
      return this.#over(text, { reason: 'length', stopReason: null });
    }
    if (this.outputCount >= request.minTokens) this.#sampler?.allowBanned();
    return { text, finish: null };
  }

  /** Tells the consumer how it ended. */
  end({ reason, stopReason }: Finish): void {
    this.events.push({
      finishReason: reason,
      stopReason,
      promptTokens: this.promptCount,
      completionTokens: this.outputCount,
      cachedTokens: this.cachedTokens,
    });
    this.events.end();
  }

  close(): void {
    this.#sampler?.close();
    this.#sampler = null;
  }

  #over(text: string, finish: Finish): Appended {
    return { text: text + this.#text.flush(), finish };
  }
}
