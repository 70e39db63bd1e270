import { Fault } from '@tsukimi/base';
import type { GenerationRequest } from './generation.ts';

/** What would make native code read out of bounds or never end. Fault INVALID_ARGUMENT that names the field. */
export function validateRequest(
  request: GenerationRequest,
  vocabularySize: number,
  contextLength: number,
): void {
  const { promptTokens, resumeTokens = [], maxTokens, minTokens, sampling } = request;
  if (promptTokens.length === 0) throw invalid('the prompt has no tokens');
  if (promptTokens.length >= contextLength) {
    throw invalid(
      `the prompt has ${promptTokens.length} tokens, and prompt and output together may have ${contextLength}; shorten it or raise --max-model-len`,
    );
  }
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw invalid(`max_tokens: ${maxTokens} is not a positive whole number`);
  }
  if (!Number.isInteger(minTokens) || minTokens < 0) {
    throw invalid(`min_tokens: ${minTokens} is not a whole number from 0`);
  }
  const known = (token: number) => Number.isInteger(token) && token >= 0 && token < vocabularySize;
  if (!promptTokens.every(known)) throw invalid('the prompt has a token that the model lacks');
  if (!resumeTokens.every(known)) throw invalid('tsukimi_resume has a token that the model lacks');
  if (!sampling.logitBias.every(([token]) => known(token))) {
    throw invalid('logit_bias has a token that the model lacks');
  }
  const { temperature, topP, topK, minP, repetitionPenalty, presencePenalty, frequencyPenalty } =
    sampling;
  const numbers = { temperature, topP, topK, minP, presencePenalty, frequencyPenalty };
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isFinite(value)) throw invalid(`${name}: ${value} is not a number`);
  }
  if (temperature < 0) throw invalid(`temperature: ${temperature} is below 0`);
  if (!(topP > 0)) throw invalid(`top_p: ${topP} is not above 0`);
  if (!(repetitionPenalty > 0 && Number.isFinite(repetitionPenalty))) {
    throw invalid(`repetition_penalty: ${repetitionPenalty} is not a number above 0`);
  }
}

function invalid(message: string): Fault {
  return new Fault('INVALID_ARGUMENT', message);
}
