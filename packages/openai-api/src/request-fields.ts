import { z } from 'zod';

/** A field that clients may leave out or send as null; both mean `fallback`. */
export function optional<T extends z.ZodType, F>(schema: T, fallback: F) {
  return schema.nullish().transform((value): z.output<T> | F => value ?? fallback);
}

const tokenId = z
  .number()
  .int()
  .min(0)
  .max(2 ** 31 - 1);
/** More ids than any context holds are refused before they are looked at one by one. */
export const tokenIds = z.array(tokenId).max(2 ** 20);

const penalty = z.number().min(-2).max(2);
const tokenCountMax = 2 ** 31 - 1;

const logitBias = z
  .record(z.string().regex(/^\d{1,9}$/, 'keys must be token ids'), z.number().min(-100).max(100))
  .refine((bias) => Object.keys(bias).length <= 1_024, 'must not have more than 1024 entries')
  .transform((bias) =>
    Object.entries(bias).map(([token, value]): [token: number, bias: number] => [
      Number(token),
      value,
    ]),
  );

const stopString = z.string().min(1, 'must not be an empty string').max(1_024);
const stop = z
  .union([stopString.transform((text) => [text]), z.array(stopString).max(16)], {
    error: 'must be a string or an array of at most 16 strings, none of them empty',
  })
  .transform((strings): readonly string[] => strings);

/** What completions and chat completions have in common: OpenAI's fields, vLLM's and ours. */
export const commonFields = {
  model: z.string().min(1),
  max_tokens: optional(z.number().int().min(1).max(tokenCountMax), null),
  min_tokens: optional(z.number().int().min(0).max(tokenCountMax), 0),
  stream: optional(z.boolean(), false),
  stream_options: optional(z.object({ include_usage: optional(z.boolean(), false) }), null),
  temperature: optional(z.number().min(0).max(2), 1),
  top_p: optional(z.number().gt(0).max(1), 1),
  top_k: optional(z.number().int().min(-1).max(tokenCountMax), 0),
  min_p: optional(z.number().min(0).max(1), 0),
  repetition_penalty: optional(z.number().gt(0).max(2), 1),
  presence_penalty: optional(penalty, 0),
  frequency_penalty: optional(penalty, 0),
  seed: optional(z.number().int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER), null),
  logit_bias: optional(logitBias, []),
  stop: optional(stop, []),
  ignore_eos: optional(z.boolean(), false),
  cache_salt: optional(z.string().min(1).max(1_024), ''),
  return_token_ids: optional(z.boolean(), false),
  tsukimi_resume: optional(z.object({ output_token_ids: tokenIds }), null),
  tsukimi_prefill_cached_tokens: optional(z.number().int().min(0).max(tokenCountMax), null),
  tsukimi_handover: optional(z.boolean(), false),
  tsukimi_chunk_keys: optional(z.boolean(), false),
};

/**
 * Fields of OpenAI's and vLLM's that change what the client gets and that are not built. Each with
 * the values that ask for nothing; any other is refused rather than ignored. null is always fine.
 */
export const unsupportedFields: Readonly<Record<string, (value: unknown) => boolean>> = {
  n: (value) => value === 1,
  best_of: (value) => value === 1,
  use_beam_search: isFalse,
  echo: isFalse,
  suffix: (value) => value === '',
  logprobs: isFalse,
  top_logprobs: (value) => value === 0,
  prompt_logprobs: never,
  tools: isEmptyArray,
  functions: isEmptyArray,
  tool_choice: (value) => value === 'none' || value === 'auto',
  function_call: (value) => value === 'none' || value === 'auto',
  response_format: (value) => isRecord(value) && value['type'] === 'text',
  structured_outputs: never,
  guided_json: never,
  guided_regex: never,
  guided_choice: never,
  guided_grammar: never,
  prompt_embeds: never,
  chat_template: never,
  continue_final_message: isFalse,
  truncate_prompt_tokens: never,
  stop_token_ids: isEmptyArray,
  allowed_token_ids: isEmptyArray,
  bad_words: isEmptyArray,
  include_stop_str_in_output: isFalse,
  skip_special_tokens: (value) => value === true,
  modalities: (value) => Array.isArray(value) && value.every((one) => one === 'text'),
  audio: never,
};

function never(): boolean {
  return false;
}

function isFalse(value: unknown): boolean {
  return value === false;
}

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
