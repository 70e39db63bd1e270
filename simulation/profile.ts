import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Fault } from '@tsukimi/base';
import { z } from 'zod';

const amount = z.number().nonnegative();

const schema = z.strictObject({
  name: z.string(),
  /** Where the numbers are from, or the command that measured them. */
  source: z.string(),
  how: z.array(z.string()),
  /** A prompt alone on an idle instance, until its first token. */
  prefill: z.array(z.strictObject({ tokens: amount, ms: amount })).min(3),
  /** `batch` sequences that decode at once. */
  decode: z
    .array(
      z.strictObject({
        batch: amount,
        inputTokens: amount,
        outputTokens: amount,
        msPerToken: amount,
        /** Of new prompts that the instance computed in between; absent when there were none. */
        requestsPerSecond: amount.optional(),
      }),
    )
    .min(3),
  /** Sequences that an instance works on at once. */
  slots: z.number().int().positive(),
  /** Tokens whose KV fits into its memory. */
  kvTokens: z.number().int().positive(),
  /** Whether what a finished sequence leaves there can be used by the next. */
  keepsPrefixes: z.boolean(),
  kvBytesPerToken: amount,
  /** Prompt tokens that one step computes at most. */
  stepTokens: z.number().int().positive(),
  /** Between an instance and the store, or another instance, each way. */
  transferBytesPerSecond: z.number().positive(),
  transferFixedMs: amount,
  /** For the master to say whether the store has a block. */
  lookupMsPerBlock: amount,
  /** What each instance lends to the store. */
  storeTokensPerInstance: amount,
  /** Between proxy and instance, one way. */
  hopMs: amount,
  objective: z.strictObject({ ttftMs: amount, tpotMs: amount }),
});

/** What is known of one kind of instance: measured speeds, and sizes. */
export type Profile = Readonly<z.output<typeof schema>>;

/** By a path, or by the name of one of `profiles/`. Throws `INVALID_ARGUMENT`. */
export function readProfile(nameOrPath: string): Profile {
  const path = nameOrPath.endsWith('.json')
    ? nameOrPath
    : fileURLToPath(new URL(`./profiles/${nameOrPath}.json`, import.meta.url));
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Fault('INVALID_ARGUMENT', `--profile: ${path}: ${(error as Error).message}`);
  }
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Fault(
    'INVALID_ARGUMENT',
    `--profile: ${path}: ${issue?.path.join('.')}: ${issue?.message}`,
  );
}
