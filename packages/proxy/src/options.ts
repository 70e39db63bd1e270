import { Fault, type Options, type OptionValues, optionTypes } from '@tsukimi/base';
import { z } from 'zod';
import { type PdHint, pdProtocolNames } from './core/pd-facts.ts';
import { defaultPolicyName, policies } from './core/policies/by-name.ts';
import type { Endpoint } from './core/pool-instance.ts';
import { type Deadlines, deadlines } from './deadlines.ts';
import { isFile } from './load-policies.ts';
import { parseEndpoints } from './membership/endpoints.ts';

const endpoints = (flag: string) =>
  z
    .union([z.string(), z.array(z.string())])
    .default([])
    .transform((given, context): Endpoint[] => {
      const texts = (typeof given === 'string' ? [given] : given).flatMap((text) =>
        text.split(',').filter((part) => part !== ''),
      );
      const parsed: Endpoint[] = [];
      for (const text of texts) {
        try {
          parsed.push(...parseEndpoints(text, flag));
        } catch (error) {
          context.addIssue((error as Error).message);
        }
      }
      return parsed;
    });

const texts = z
  .union([z.string(), z.array(z.string())])
  .default([])
  .transform((given) => (typeof given === 'string' ? [given] : given));

/** As origins come in a browser's header; vLLM's way, one JSON array, is understood too. */
const origins = texts.transform((given, context) =>
  given
    .flatMap((text) => (text.startsWith('[') ? originsIn(text) : text.split(',')))
    .map((origin) => {
      if (origin !== '*' && !/^[a-z][a-z0-9+.-]*:\/\/[^/\s]+$/i.test(origin)) {
        context.addIssue(`${origin}: not an origin; give it as https://app.example or *`);
      }
      return origin.toLowerCase();
    }),
);

function originsIn(json: string): string[] {
  try {
    return z.array(z.string()).parse(JSON.parse(json));
  } catch {
    return [json];
  }
}

const paths = texts.transform((given, context) => {
  const all = given.flatMap((text) => text.split(',')).filter((text) => text !== '');
  for (const path of all) {
    if (!/^(\/[\w.~:@-]+)+$/.test(path))
      context.addIssue(`${path}: not a path; give it as /v1/rerank`);
  }
  return all;
});

const milliseconds = (name: keyof Deadlines) => optionTypes.milliseconds.default(deadlines[name]);

const policyNames = Object.keys(policies);
const policyName = z.string().refine((name) => isFile(name) || policyNames.includes(name), {
  error: `is none of ${policyNames.join(', ')}, and no path of a .js or .mjs file`,
});

export const proxyOptions = {
  model: {
    schema: z.string().min(1),
    doc: 'The model that the instances serve: an id of their /v1/models, or its part after the last "/".',
    aliases: ['m'],
  },
  prefill: {
    schema: endpoints('--prefill'),
    doc: 'Prefill instances: host:port, http(s)://host:port, host@8100-8107, or with their protocol mooncake:8998+host:port; may be empty, as more can be added while it runs.',
    kind: 'list',
    aliases: ['p'],
  },
  decode: {
    schema: endpoints('--decode'),
    doc: 'Decode instances, written as for --prefill; may be empty too.',
    kind: 'list',
    aliases: ['d'],
  },
  config: {
    schema: z.string().min(1).optional(),
    doc: 'YAML or JSON file of instances, lists called prefill and decode; read again when it changes.',
  },
  autoRole: {
    schema: optionTypes.flag.default(false),
    kind: 'flag',
    doc: 'Move kv_both instances between prefill and decode as the load asks; with one worker only.',
  },
  pdProtocol: {
    schema: z.enum(pdProtocolNames).default('auto'),
    doc: `How prefill and decode instances hand over, where they are not ours: ${pdProtocolNames.join(', ')}.`,
  },
  bootstrapPort: {
    schema: optionTypes.port.optional(),
    doc: 'Port of the bootstrap servers of prefill instances (mooncake, sglang), where it is not 8998.',
  },
  kvPort: {
    schema: optionTypes.port.optional(),
    doc: 'Port of the ZMQ sockets of instances (p2p_nccl) or of their side channels (nixl_push).',
  },
  port: { schema: optionTypes.port.default(8_000), doc: 'Port of the OpenAI API.' },
  host: { schema: z.string().min(1).default('0.0.0.0'), doc: 'Address to listen on.' },
  scheduling: {
    schema: policyName.default(defaultPolicyName),
    doc: `How instances are chosen: ${policyNames.join(', ')}, or the path of a file of your own that ends in .js or .mjs.`,
  },
  prefillScheduling: {
    schema: policyName.optional(),
    doc: 'How prefill instances are chosen; as --scheduling says unless given.',
  },
  decodeScheduling: {
    schema: policyName.optional(),
    doc: 'How decode instances are chosen; as --scheduling says unless given.',
  },
  adminApiKey: {
    schema: z.string().min(1).optional(),
    doc: 'Key that the calls under /instances ask for. Better given by the environment: ADMIN_API_KEY.',
    env: 'ADMIN_API_KEY',
  },
  openaiApiKey: {
    schema: z.string().min(1).optional(),
    doc: 'Bearer token towards instances when the client sent none. Better by OPENAI_API_KEY.',
    env: 'OPENAI_API_KEY',
  },
  apiKey: {
    schema: texts,
    doc: 'Keys, one of which clients must send. Better hashed, by --api-keys-file.',
    kind: 'list',
  },
  apiKeysFile: {
    schema: z.string().min(1).optional(),
    doc: 'YAML or JSON file of clients: names, SHA-256 of their keys, limits. Read again when it changes.',
  },
  sslKeyfile: {
    schema: z.string().min(1).optional(),
    doc: 'PEM file of the private key, to serve HTTPS, 1.2 or later of TLS. Read again when it changes.',
  },
  sslCertfile: {
    schema: z.string().min(1).optional(),
    doc: 'PEM file of the certificate to that key, followed by those between it and its authority.',
  },
  sslCaCerts: {
    schema: z.string().min(1).optional(),
    doc: "PEM file of the authorities trusted for https:// instances, in place of Node's. Read at the start.",
  },
  allowedOrigins: {
    schema: origins,
    doc: 'Origins of browser pages that may use the API (CORS), or * for all.',
    kind: 'list',
  },
  passThrough: {
    schema: paths,
    doc: 'More paths whose POST requests, of JSON, go to an instance, such as /v1/rerank or /score.',
    kind: 'list',
  },
  inFlightMax: {
    schema: optionTypes.count.default(2_048),
    doc: 'Requests that are worked on at once.',
  },
  queueMax: {
    schema: z.coerce.number().int().min(0).default(2_048),
    doc: 'Requests that wait for their turn; more are refused with 503.',
  },
  workers: {
    schema: optionTypes.count.default(1),
    doc: 'Processes that share the work and the port; one uses one core. They share limits roughly.',
  },
  connectMs: {
    schema: milliseconds('connectMs'),
    doc: 'Milliseconds until an instance accepts a connection.',
  },
  firstByteMs: {
    schema: milliseconds('firstByteMs'),
    doc: 'Milliseconds until the first byte of an answer; 10 more for each token of the prompt.',
  },
  handoverMs: {
    schema: milliseconds('handoverMs'),
    doc: 'Milliseconds that decode waits at most until the store has what prefill computed; 0 never waits.',
  },
  masterServerAddress: {
    schema: z.string().min(1).optional(),
    doc: "The store's master, as in mooncake.json; lets decode instances of vLLM wait for what prefill stores.",
  },
  mooncakeConfig: {
    schema: z.string().min(1).optional(),
    doc: 'Path of a mooncake.json of the instances, to find the master by.',
    env: 'MOONCAKE_CONFIG_PATH',
  },
  hashSeed: {
    schema: z.string().min(1).optional(),
    doc: 'PYTHONHASHSEED of the vLLM instances, where they have one other than 0.',
    env: 'PYTHONHASHSEED',
  },
  gapMs: {
    schema: milliseconds('gapMs'),
    doc: 'Milliseconds between two tokens of a stream before another instance continues it.',
  },
  ttftObjectiveMs: {
    schema: optionTypes.milliseconds.default(0),
    doc: 'Refuse a request with 429 when no instance is expected to give its first token within this; 0 never does that.',
  },
  tpotObjectiveMs: {
    schema: optionTypes.milliseconds.default(0),
    doc: 'The same for the time between two tokens.',
  },
  skipPrefillBelowTokens: {
    schema: z.coerce.number().int().nonnegative().default(0),
    doc: 'Decode computes a prompt by itself where fewer tokens than this are not cached there; 0 never does that.',
  },
  hedgeMs: {
    schema: optionTypes.milliseconds.default(0),
    doc: 'Milliseconds without an answer until a second instance is tried beside; 0 never does that.',
  },
  probeMs: { schema: milliseconds('probeMs'), doc: 'Milliseconds that a health probe may take.' },
  accessLog: {
    schema: z.enum(['off', 'json']).default('off'),
    doc: 'A line on standard output for each request, when it is over: json, or off.',
  },
  hideInstances: {
    schema: optionTypes.flag,
    doc: 'Answers do not say which instances they come from, nor what the proxy added.',
    kind: 'flag',
  },
  shutdownTimeout: {
    schema: z.coerce.number().nonnegative().default(30),
    doc: 'Seconds that running requests get to finish after SIGTERM.',
  },
} as const satisfies Options;

export type ProxyOptions = OptionValues<typeof proxyOptions>;

/** What holds for instances of which nothing else is said. Throws `INVALID_ARGUMENT`. */
export function pdHintOf({ pdProtocol, bootstrapPort, kvPort }: ProxyOptions): PdHint {
  if (pdProtocol === 'p2p_nccl' && kvPort === undefined) {
    throw new Fault('INVALID_ARGUMENT', '--pd-protocol p2p_nccl needs --kv-port');
  }
  return { protocol: pdProtocol, bootstrapPort, kvPort };
}
