import { type Options, type OptionValues, optionTypes } from '@tsukimi/base';
import { policies } from '@tsukimi/proxy';
import { z } from 'zod';

const list = <T>(each: z.ZodType<T, unknown>, fallback: string) =>
  z
    .string()
    .default(fallback)
    .transform((text): unknown[] => text.split(','))
    .pipe(z.array(each).min(1));

const positive = z.coerce.number().positive();

/** One name for both legs, or the prefill leg's and the decode leg's with `+` between. */
const policyPair = z.string().transform((text, context) => {
  const [prefill = '', decode = prefill, ...rest] = text.split('+');
  for (const name of [prefill, decode]) {
    if (Object.hasOwn(policies, name) && rest.length === 0) continue;
    context.addIssue(
      `${text}: there are all, ${Object.keys(policies).join(', ')}, and pairs with +`,
    );
  }
  return { prefill, decode } as { prefill: keyof typeof policies; decode: keyof typeof policies };
});

export type PolicyPair = z.output<typeof policyPair>;

const policyPairs = z
  .string()
  .default('all')
  .transform((text) => (text === 'all' ? Object.keys(policies) : text.split(',')))
  .pipe(z.array(policyPair));

export const simulationOptions = {
  trace: {
    schema: z.string().min(1).optional(),
    doc: 'File in the form of the traces of kvcache-ai/Mooncake, FAST25-release/traces; a made one when absent.',
  },
  requests: {
    schema: optionTypes.count.optional(),
    doc: 'Only the first so many requests of the trace; of a made one 1000.',
  },
  profile: {
    schema: z.string().min(1).default('llama-3.3-70b-fp8-2xh100'),
    doc: 'Speeds and sizes of an instance: a name in simulation/profiles, or a file.',
  },
  instances: {
    schema: list(z.coerce.number().int().min(2), '2,4,8,16,32,64'),
    doc: 'Numbers of instances, prefill and decode together.',
  },
  policies: {
    schema: policyPairs,
    doc: 'Names of policies, or all, as when absent; prefill+decode for one that differs between the legs.',
  },
  stores: {
    schema: list(z.enum(['shared', 'private', 'none']), 'shared'),
    doc: 'One store for all, a part for each instance, or only what the instances themselves keep.',
  },
  loads: {
    schema: list(positive, '1'),
    doc: 'Time to compute all prompts with nothing cached, over the time that the prefill instances have.',
  },
  prefillShares: {
    schema: list(positive.lt(1), '0.75'),
    doc: 'Part of the instances that does prefill; at least one of each kind.',
  },
  ttftMs: { schema: positive.optional(), doc: "Objective; the profile's unless given." },
  tpotMs: { schema: positive.optional(), doc: "Objective; the profile's unless given." },
  inFlightMax: { schema: optionTypes.count.default(100_000), doc: "The proxy's --in-flight-max." },
  queueMax: {
    schema: z.coerce.number().int().min(0).default(100_000),
    doc: "The proxy's --queue-max.",
  },
  seed: { schema: z.coerce.number().int().min(0).default(1), doc: 'Of all that chance decides.' },
  json: { schema: z.string().min(1).optional(), doc: 'File for all figures.' },
  markdown: { schema: z.string().min(1).optional(), doc: 'File for the tables.' },
  plot: { schema: z.string().min(1).optional(), doc: 'File for the drawing, SVG.' },
  help: { schema: optionTypes.flag, doc: 'Show this.', kind: 'flag' },
} as const satisfies Options;

export type SimulationOptions = OptionValues<typeof simulationOptions>;
