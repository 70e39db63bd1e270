/** OpenAI's API as data: request schemas, answers, error bodies and server-sent events. */
export {
  type OpenAiErrorAnswer,
  type OpenAiErrorBody,
  type OpenAiErrorOptions,
  openAiError,
  openAiErrorOf,
} from './error.ts';
export { encodeSse, SseSplitter, type SseSplitterOptions, sseData, sseDone } from './sse.ts';
