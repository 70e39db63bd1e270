/** Why a generation ended, in OpenAI's words; `abort` is vLLM's for one that was called off. */
export type FinishReason = 'stop' | 'length' | 'abort';

/** What all chunks and the whole answer to one request have in common. */
export interface AnswerHead {
  readonly id: string;
  readonly kind: 'completion' | 'chat';
  /** Unix time in seconds. */
  readonly created: number;
  readonly model: string;
  readonly systemFingerprint: string;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: {
    readonly cached_tokens: number;
    /** Of a request that another instance prefilled: what this one took from the store. */
    readonly decode_loaded_tokens?: number;
  };
}

export interface UsageFigures {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
  /** The prefill instance's own figure, which then stands for the cluster's. */
  readonly prefillCachedTokens: number | null;
}

export function usageOf(figures: UsageFigures): Usage {
  const { promptTokens, completionTokens, cachedTokens, prefillCachedTokens } = figures;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details:
      prefillCachedTokens === null
        ? { cached_tokens: cachedTokens }
        : { cached_tokens: prefillCachedTokens, decode_loaded_tokens: cachedTokens },
  };
}

/** A piece of output, or all of it. */
export interface AnswerPiece {
  /** null opens a chat stream: it tells the role and no text. */
  readonly text: string | null;
  readonly finishReason: FinishReason | null;
  /** The string or token that ended it; null when the model did. */
  readonly stopReason?: string | number | null;
  /** Present when the client asked for ids. */
  readonly tokenIds?: readonly number[] | undefined;
  readonly promptTokenIds?: readonly number[] | undefined;
}

/**
 * The whole answer. Token ids are the last member of the choice, and a chat's prompt ids that of
 * the answer, so that a relay which asked for them can take them out without parsing the rest.
 */
export function wholeAnswer(head: AnswerHead, piece: AnswerPiece, usage: Usage): object {
  const shape = head.kind === 'chat' ? 'chat.completion' : 'text_completion';
  const content = { message: { role: 'assistant', content: piece.text ?? '' } };
  return answer(head, shape, [choice(head, piece, content)], piece, { usage });
}

/** One chunk of a stream. `usage` is null in every chunk of a stream that will tell it at the end. */
export function answerChunk(head: AnswerHead, piece: AnswerPiece, usage?: null): object {
  const delta =
    piece.text === null
      ? { role: 'assistant', content: '' }
      : piece.text === '' && piece.finishReason !== null
        ? {}
        : { content: piece.text };
  return answer(
    head,
    chunkShape(head),
    [choice(head, piece, { delta })],
    piece,
    usage === undefined ? {} : { usage },
  );
}

/** The chunk after the last one, when the client asked for `stream_options.include_usage`. */
export function usageChunk(head: AnswerHead, usage: Usage): object {
  return answer(head, chunkShape(head), [], {}, { usage });
}

function chunkShape(head: AnswerHead): string {
  return head.kind === 'chat' ? 'chat.completion.chunk' : 'text_completion';
}

function answer(
  head: AnswerHead,
  object: string,
  choices: readonly object[],
  piece: Pick<AnswerPiece, 'promptTokenIds'>,
  rest: object,
): object {
  return {
    id: head.id,
    object,
    created: head.created,
    model: head.model,
    system_fingerprint: head.systemFingerprint,
    choices,
    ...rest,
    // vLLM tells them beside the choices of a chat, and within the choice of a completion.
    ...(head.kind === 'chat' && piece.promptTokenIds !== undefined
      ? { prompt_token_ids: piece.promptTokenIds }
      : {}),
  };
}

function choice(head: AnswerHead, piece: AnswerPiece, chatContent: object): object {
  return {
    index: 0,
    ...(head.kind === 'chat' ? chatContent : { text: piece.text ?? '' }),
    logprobs: null,
    finish_reason: piece.finishReason,
    stop_reason: piece.stopReason ?? null,
    ...(head.kind === 'completion' && piece.promptTokenIds !== undefined
      ? { prompt_token_ids: piece.promptTokenIds }
      : {}),
    ...(piece.tokenIds !== undefined ? { token_ids: piece.tokenIds } : {}),
  };
}
