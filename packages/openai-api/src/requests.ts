import { Fault } from '@tsukimi/base';
import { z } from 'zod';
import { commonFields, isRecord, optional, tokenIds, unsupportedFields } from './request-fields.ts';

/** How one next token is drawn. Zero temperature takes the likeliest; zero `topK`, all of them. */
export interface RequestedSampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly seed: number | null;
  readonly logitBias: readonly (readonly [token: number, bias: number])[];
}

/** A checked request: what to generate and how the client wants it told. */
export interface GenerationRequest {
  readonly model: string;
  /** null when the client named none: `completionMaxTokensDefault`, or what fits the context. */
  readonly maxTokens: number | null;
  readonly minTokens: number;
  readonly sampling: RequestedSampling;
  readonly stop: readonly string[];
  readonly ignoreEos: boolean;
  /** Requests with different salts never share KV. */
  readonly salt: string;
  readonly addSpecialTokens: boolean;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly returnTokenIds: boolean;
  /** Output that another instance has produced already; only what follows is told. */
  readonly resumeTokens: readonly number[];
  /** What the prefill instance reported, shown to the client in place of our own figure. */
  readonly prefillCachedTokens: number | null;
  /** Answer only once the prompt's KV is where another instance can load it. */
  readonly handover: boolean;
  /** Answer with the keys of the prompt's whole chunks in the store, too, unless it streams. */
  readonly tellsChunkKeys: boolean;
}

export interface CompletionRequest extends GenerationRequest {
  /** A text, or the ids of its tokens. */
  readonly prompt: string | readonly number[];
}

export interface ChatMessage {
  readonly role: string;
  /** Text parts are joined. */
  readonly content: string;
  /** Whatever else the client sent, for the template's eyes. */
  readonly [extra: string]: unknown;
}

export interface ChatRequest extends GenerationRequest {
  readonly messages: readonly ChatMessage[];
  readonly addGenerationPrompt: boolean;
  /** Variables for the chat template, as `enable_thinking`. */
  readonly templateArguments: Readonly<Record<string, unknown>>;
}

const promptText = z.string().max(2 ** 24);
const several = 'an array of several prompts is not supported here; send one request for each';
const prompt = z.union(
  [
    promptText,
    tokenIds,
    z.tuple([promptText]).transform(([only]) => only),
    z.tuple([tokenIds]).transform(([only]) => only),
  ],
  {
    error: ({ input }) =>
      Array.isArray(input) && input.length > 1 && typeof input[0] !== 'number'
        ? several
        : 'must be a string or an array of token ids',
  },
);

const completionSchema = z.object({
  ...commonFields,
  prompt,
  add_special_tokens: optional(z.boolean(), true),
});

const textPart = z.object({ type: z.literal('text'), text: z.string() });
const message = z
  .looseObject({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    content: z
      .union([z.string(), z.array(textPart)], {
        error: 'must be a string or an array of text parts; other kinds are not supported here',
      })
      .nullish(),
  })
  .refine(({ role, content }) => role === 'assistant' || (content ?? null) !== null, {
    path: ['content'],
    error: 'is required',
  })
  .transform(
    ({ content, ...rest }): ChatMessage => ({
      ...rest,
      // Templates know `system`; `developer` is OpenAI's newer name for it.
      role: rest.role === 'developer' ? 'system' : rest.role,
      content: Array.isArray(content)
        ? content.map(({ text }) => text).join('\n')
        : (content ?? ''),
    }),
  );
const messages = z.array(message).min(1).max(16_384);

const chatSchema = z.object({
  ...commonFields,
  messages,
  max_completion_tokens: commonFields.max_tokens,
  add_special_tokens: optional(z.boolean(), false),
  add_generation_prompt: optional(z.boolean(), true),
  chat_template_kwargs: optional(z.record(z.string(), z.unknown()), {}),
});

/** OpenAI's and vLLM's limit for a completion that names none; a chat may fill its context. */
export const completionMaxTokensDefault = 16;

/** Reads the body of `/v1/completions`. Any fault names the field in `details.param`. */
export function parseCompletionRequest(body: unknown): CompletionRequest {
  const fields = parseGeneration(completionSchema, body);
  return {
    ...generation(fields, fields.max_tokens),
    prompt: fields.prompt,
  };
}

/** Reads the body of `/v1/chat/completions`. Any fault names the field in `details.param`. */
export function parseChatRequest(body: unknown): ChatRequest {
  const fields = parseGeneration(chatSchema, body);
  return {
    ...generation(fields, fields.max_completion_tokens ?? fields.max_tokens),
    messages: fields.messages,
    addGenerationPrompt: fields.add_generation_prompt,
    templateArguments: fields.chat_template_kwargs,
  };
}

const tokenizeSchema = z.object({
  prompt: z
    .string()
    .max(2 ** 24)
    .nullish(),
  content: z
    .string()
    .max(2 ** 24)
    .nullish(),
  messages: messages.nullish(),
  add_special_tokens: z.boolean().nullish(),
  add_generation_prompt: optional(z.boolean(), true),
  chat_template_kwargs: optional(z.record(z.string(), z.unknown()), {}),
});

/** What `/tokenize` is asked: a text (vLLM calls it `prompt`, llama-server `content`) or a chat. */
export type TokenizeRequest =
  | { readonly text: string; readonly addSpecialTokens: boolean }
  | (Pick<ChatRequest, 'messages' | 'addGenerationPrompt' | 'templateArguments'> & {
      readonly addSpecialTokens: boolean;
    });

export function parseTokenizeRequest(body: unknown): TokenizeRequest {
  const fields = parse(tokenizeSchema, body);
  const text = fields.prompt ?? fields.content;
  if (typeof text === 'string') {
    return { text, addSpecialTokens: fields.add_special_tokens ?? true };
  }
  if (!fields.messages) throw badField('prompt', 'prompt, content or messages is required');
  return {
    messages: fields.messages,
    addGenerationPrompt: fields.add_generation_prompt,
    templateArguments: fields.chat_template_kwargs,
    addSpecialTokens: fields.add_special_tokens ?? false,
  };
}

export function parseDetokenizeRequest(body: unknown): { readonly tokens: readonly number[] } {
  return parse(z.object({ tokens: tokenIds }), body);
}

/** A refusal of one field, as every check of a request reports it. */
export function badField(param: string, message: string, code?: string): Fault {
  return new Fault('INVALID_ARGUMENT', message, {
    details: code === undefined ? { param } : { param, code },
  });
}

function parseGeneration<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  for (const [name, asksNothing] of Object.entries(unsupportedFields)) {
    const value = isRecord(body) ? (body[name] ?? null) : null;
    if (value !== null && !asksNothing(value)) {
      throw badField(name, `${name} is not supported here; leave it out`, 'unsupported_parameter');
    }
  }
  return parse(schema, body);
}

function parse<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  if (!isRecord(body)) {
    throw new Fault('INVALID_ARGUMENT', 'the body must be a JSON object');
  }
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.map(String) ?? [];
  const missing = path.length > 0 && valueAt(body, path) === undefined;
  throw badField(
    path.join('.'),
    `${path.join('.')}: ${missing ? 'is required' : (issue?.message ?? 'is not valid')}`,
    missing ? 'missing_required_parameter' : 'invalid_value',
  );
}

function valueAt(body: unknown, path: readonly string[]): unknown {
  let value = body;
  for (const name of path) value = (value as Record<string, unknown> | null | undefined)?.[name];
  return value;
}

type CommonFields = z.output<z.ZodObject<typeof commonFields>> & { add_special_tokens: boolean };

function generation(fields: CommonFields, maxTokens: number | null): GenerationRequest {
  if (fields.stream_options !== null && !fields.stream) {
    throw badField('stream_options', 'stream_options is only allowed together with stream: true');
  }
  if (maxTokens !== null && fields.min_tokens > maxTokens) {
    throw badField(
      'min_tokens',
      `min_tokens is ${fields.min_tokens} and must not exceed max_tokens, which is ${maxTokens}`,
    );
  }
  return {
    model: fields.model,
    maxTokens,
    minTokens: fields.min_tokens,
    sampling: {
      temperature: fields.temperature,
      topP: fields.top_p,
      topK: Math.max(0, fields.top_k),
      minP: fields.min_p,
      repetitionPenalty: fields.repetition_penalty,
      presencePenalty: fields.presence_penalty,
      frequencyPenalty: fields.frequency_penalty,
      seed: fields.seed,
      logitBias: fields.logit_bias,
    },
    stop: fields.stop,
    ignoreEos: fields.ignore_eos,
    salt: fields.cache_salt,
    addSpecialTokens: fields.add_special_tokens,
    stream: fields.stream,
    includeUsage: fields.stream_options?.include_usage ?? false,
    returnTokenIds: fields.return_token_ids,
    resumeTokens: fields.tsukimi_resume?.output_token_ids ?? [],
    prefillCachedTokens: fields.tsukimi_prefill_cached_tokens,
    handover: fields.tsukimi_handover,
    tellsChunkKeys: fields.tsukimi_chunk_keys,
  };
}
