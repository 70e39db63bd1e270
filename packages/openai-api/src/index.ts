/** OpenAI's API as data: request schemas, answers, error bodies and server-sent events. */
export {
  type AnswerHead,
  type AnswerPiece,
  answerChunk,
  type FinishReason,
  type Usage,
  type UsageFigures,
  usageChunk,
  usageOf,
  wholeAnswer,
} from './answers.ts';
export {
  type OpenAiErrorAnswer,
  type OpenAiErrorBody,
  type OpenAiErrorOptions,
  openAiError,
  openAiErrorOf,
} from './error.ts';
export {
  badField,
  type ChatMessage,
  type ChatRequest,
  type CompletionRequest,
  completionMaxTokensDefault,
  type GenerationRequest,
  parseChatRequest,
  parseCompletionRequest,
  parseDetokenizeRequest,
  parseTokenizeRequest,
  type RequestedSampling,
  type TokenizeRequest,
} from './requests.ts';
export { encodeSse, SseSplitter, type SseSplitterOptions, sseData, sseDone } from './sse.ts';
