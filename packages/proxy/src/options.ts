import { type Address, type Options, type OptionValues, optionTypes } from '@tsukimi/base';
import { z } from 'zod';
import { type PolicyName, policies } from './core/policies.ts';
import { type Deadlines, deadlines } from './deadlines.ts';
import { parseInstanceAddress } from './instance-address.ts';

const addresses = (flag: string) =>
  z
    .union([z.string(), z.array(z.string())])
    .default([])
    .transform((given, context): Address[] => {
      const texts = (typeof given === 'string' ? [given] : given).flatMap((text) =>
        text.split(',').filter((part) => part !== ''),
      );
      const parsed: Address[] = [];
      for (const text of texts) {
        try {
          parsed.push(parseInstanceAddress(text, flag));
        } catch (error) {
          context.addIssue((error as Error).message);
        }
      }
      return parsed;
    });

const milliseconds = (name: keyof Deadlines) => optionTypes.milliseconds.default(deadlines[name]);

export const proxyOptions = {
  model: {
    schema: z.string().min(1),
    doc: 'The model that the instances serve: an id of their /v1/models, or its part after the last "/".',
    aliases: ['m'],
  },
  prefill: {
    schema: addresses('--prefill'),
    doc: 'Prefill instances as host:port; may be empty, more can be added while it runs.',
    kind: 'list',
    aliases: ['p'],
  },
  decode: {
    schema: addresses('--decode'),
    doc: 'Decode instances as host:port; may be empty, more can be added while it runs.',
    kind: 'list',
    aliases: ['d'],
  },
  port: { schema: optionTypes.port.default(8_000), doc: 'Port of the OpenAI API.' },
  host: { schema: z.string().min(1).default('0.0.0.0'), doc: 'Address to listen on.' },
  scheduling: {
    schema: z.enum(Object.keys(policies) as [PolicyName, ...PolicyName[]]).default('round_robin'),
    doc: 'How instances are chosen: round_robin takes turns, least_load takes the least busy.',
  },
  adminApiKey: {
    schema: z.string().min(1).optional(),
    doc: 'Key that /instances/add asks for. Better given by the environment: ADMIN_API_KEY.',
    env: 'ADMIN_API_KEY',
  },
  openaiApiKey: {
    schema: z.string().min(1).optional(),
    doc: 'Bearer token towards instances when the client sent none. Better by OPENAI_API_KEY.',
    env: 'OPENAI_API_KEY',
  },
  inFlightMax: {
    schema: optionTypes.count.default(2_048),
    doc: 'Requests that are worked on at once.',
  },
  queueMax: {
    schema: z.coerce.number().int().min(0).default(2_048),
    doc: 'Requests that wait for their turn; more are refused with 503.',
  },
  connectMs: {
    schema: milliseconds('connectMs'),
    doc: 'Milliseconds until an instance accepts a connection.',
  },
  firstByteMs: {
    schema: milliseconds('firstByteMs'),
    doc: 'Milliseconds until the first byte of an answer; 10 more for each token of the prompt.',
  },
  gapMs: {
    schema: milliseconds('gapMs'),
    doc: 'Milliseconds between two tokens of a stream before another instance continues it.',
  },
  hedgeMs: {
    schema: optionTypes.milliseconds.default(0),
    doc: 'Milliseconds without an answer until a second instance is tried beside; 0 never does that.',
  },
  probeMs: { schema: milliseconds('probeMs'), doc: 'Milliseconds that a health probe may take.' },
  shutdownTimeout: {
    schema: z.coerce.number().nonnegative().default(30),
    doc: 'Seconds that running requests get to finish after SIGTERM.',
  },
} as const satisfies Options;

export type ProxyOptions = OptionValues<typeof proxyOptions>;
