import type { GenerationRequest as EngineRequest } from '@tsukimi/engine';
import {
  badField,
  type ChatRequest,
  type CompletionRequest,
  completionMaxTokensDefault,
} from '@tsukimi/openai-api';
import type { KvRole } from './kv-transfer-config.ts';

/**
 * What the engine is asked for a checked request, or why it cannot be served: an INVALID_ARGUMENT
 * fault with both numbers when prompt and answer do not fit.
 */
export function planGeneration(
  request: CompletionRequest | ChatRequest,
  promptTokens: Int32Array,
  maxModelLen: number,
  kvRole: KvRole | null,
): EngineRequest {
  const isChat = 'messages' in request;
  const param = isChat ? 'messages' : 'prompt';
  const promptCount = promptTokens.length;
  if (promptCount === 0) throw badField(param, `${param}: must have at least one token`);
  const room = maxModelLen - promptCount;
  const tooLong = (words: string) =>
    badField(
      room < 1 ? param : 'max_tokens',
      `this model's maximum context length is ${maxModelLen} tokens, ${words}`,
      'context_length_exceeded',
    );
  if (room < 1) {
    throw tooLong(`but the prompt has ${promptCount}, which leaves no room for an answer`);
  }
  if (request.maxTokens !== null && request.maxTokens > room) {
    throw tooLong(
      `but ${promptCount + request.maxTokens} are asked for: ${promptCount} in the prompt and max_tokens ${request.maxTokens}`,
    );
  }
  const maxTokens = request.maxTokens ?? Math.min(room, isChat ? room : completionMaxTokensDefault);
  if (request.resumeTokens.length > maxTokens) {
    throw badField(
      'tsukimi_resume',
      `tsukimi_resume: ${request.resumeTokens.length} output tokens exceed the limit of ${maxTokens}`,
    );
  }
  return {
    promptTokens,
    resumeTokens: request.resumeTokens,
    maxTokens,
    sampling: request.sampling,
    stop: request.stop,
    ignoreEos: request.ignoreEos,
    minTokens: Math.min(request.minTokens, maxTokens),
    salt: request.salt,
    // A producer that is asked for one token is asked for the prompt's KV, whoever asks.
    saveBeforeFirstToken: request.handover || (kvRole === 'kv_producer' && maxTokens === 1),
  };
}
