/** What to generate, in tokens; validated by whoever speaks to the client. */
export interface GenerationRequest {
  /** At least one token. */
  readonly promptTokens: Int32Array;
  /** Output tokens already produced elsewhere: they count for limits, penalties and usage, and are not emitted again. */
  readonly resumeTokens?: readonly number[];
  /** Output tokens at most, those of `resumeTokens` included. */
  readonly maxTokens: number;
  readonly sampling: SamplingOptions;
  /** The output ends before the first of these strings. */
  readonly stop: readonly string[];
  /** End-of-generation tokens do not end the output. */
  readonly ignoreEos: boolean;
  /** No end-of-generation token before so many output tokens. */
  readonly minTokens: number;
  /** Requests with different salts never share stored KV. */
  readonly salt: string;
  /** Holds the first token back until the prompt's KV is stored, within a bound: for the leg that only fills the store. */
  readonly saveBeforeFirstToken: boolean;
}

export interface SamplingOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** 1 is off. */
  readonly topP: number;
  /** 0 and below is off. */
  readonly topK: number;
  /** 0 is off. */
  readonly minP: number;
  /** Over prompt and output; 1 is off. */
  readonly repetitionPenalty: number;
  /** Over the output; 0 is off. */
  readonly presencePenalty: number;
  /** Over the output; 0 is off. */
  readonly frequencyPenalty: number;
  /** Null draws one by chance. The draw of output token i depends on the seed and i alone. */
  readonly seed: number | null;
  /** [token, bias] added to the logit. */
  readonly logitBias: readonly (readonly [number, number])[];
}

export type FinishReason = 'stop' | 'length' | 'abort';

/** New output; the text of a token may come later than the token, when a character or a stop string is incomplete. */
export interface GeneratedPiece {
  readonly tokens: readonly number[];
  readonly text: string;
}

/** The last event of every generation that does not fail. */
export interface GenerationEnd {
  readonly finishReason: FinishReason;
  /** The stop string that ended the output; null when an end-of-generation token or a limit did. */
  readonly stopReason: string | number | null;
  readonly promptTokens: number;
  /** Those of `resumeTokens` included. */
  readonly completionTokens: number;
  /** Leading prompt tokens that were not computed but loaded. */
  readonly cachedTokens: number;
}

export type GenerationEvent = GeneratedPiece | GenerationEnd;

export function isEnd(event: GenerationEvent): event is GenerationEnd {
  return 'finishReason' in event;
}
