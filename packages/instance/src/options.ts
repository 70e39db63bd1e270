import { type Options, type OptionValues, optionTypes } from '@tsukimi/base';
import { z } from 'zod';

const { port, count, ratio, flag } = optionTypes;

const proxyUrls = z
  .union([z.string(), z.array(z.string())])
  .default([])
  .transform((given, context) =>
    [given]
      .flat()
      .flatMap((text) => text.split(','))
      .filter((text) => text !== '')
      .map((text) => {
        const url = URL.canParse(text) ? new URL(text) : null;
        if (url === null || !/^https?:$/.test(url.protocol)) {
          context.addIssue(`${text}: not a URL; give it as http://proxy.example:8000`);
        }
        return text.replace(/\/+$/, '');
      }),
  );

const acceptedMark = 'Accepted for vLLM. ';

/** What an operator may set for one instance, in vLLM's words where vLLM has one. */
export const serveOptions = {
  model: {
    schema: z.string().min(1),
    doc: 'tsukimi-demo, tsukimi-demo-1m or the path of a GGUF file.',
    aliases: ['m'],
  },
  servedModelName: {
    schema: z.array(z.string().min(1)).default([]),
    kind: 'list',
    doc: 'Names under which clients ask for the model; the value of --model when absent.',
  },
  host: {
    schema: z.string().min(1).default('0.0.0.0'),
    doc: 'Address to listen on. Whoever reaches it may use the model.',
  },
  port: { schema: port.default(8000), doc: 'Port to listen on; 0 picks a free one.' },
  maxModelLen: {
    schema: count.optional(),
    doc: "Longest prompt plus answer in tokens; the model's own limit, or what memory allows, when absent.",
  },
  maxNumSeqs: { schema: count.max(256).default(8), doc: 'Sequences computed at once.' },
  maxNumBatchedTokens: {
    schema: count.max(65_536).default(256),
    doc: "Prompt tokens computed in one step, so that a long prompt never stalls the others' streams.",
    aliases: ['prefill-budget'],
  },
  maxQueueLen: {
    schema: count.max(65_536).default(256),
    doc: 'Requests that wait for a free sequence before further ones get a 503.',
  },
  gpuMemoryUtilization: {
    schema: ratio.default(0.9),
    doc: 'Share of the free memory that may be planned for (on a CPU: of main memory).',
  },
  tensorParallelSize: {
    schema: count.max(1_024).default(1),
    doc: 'Part of the KV key: instances with another size never share KV. One process computes all of it.',
    aliases: ['tp'],
  },
  kvTransferConfig: {
    schema: z.string().optional(),
    doc: 'JSON with kv_connector (MooncakeStoreConnector) and kv_role (kv_producer, kv_consumer, kv_both). An ordinary server with a prefix cache of its own when absent.',
  },
  kvConnector: {
    schema: z.string().optional(),
    doc: 'kv_connector alone, without JSON.',
    aliases: ['kv-transfer-config.kv-connector'],
  },
  kvRole: {
    schema: z.string().optional(),
    doc: 'kv_role alone, without JSON.',
    aliases: ['kv-transfer-config.kv-role'],
  },
  mooncakeConfig: {
    schema: z.string().optional(),
    doc: 'Path of mooncake.json.',
    env: 'MOONCAKE_CONFIG_PATH',
  },
  registerWith: {
    schema: proxyUrls,
    doc: 'URLs of proxies that this instance puts itself in at, and out of when it stops.',
    kind: 'list',
  },
  registerAs: {
    schema: z.enum(['prefill', 'decode']).optional(),
    doc: 'For what proxies are to use it; kv_consumer means decode and the others prefill when absent.',
  },
  registerTtl: {
    schema: z.coerce.number().min(1).max(3_600).default(15),
    doc: 'Seconds of silence after which a proxy lets the instance go; it speaks three times as often.',
  },
  adminApiKey: {
    schema: z.string().min(1).optional(),
    doc: 'Key of the proxies of --register-with. Better given by the environment: ADMIN_API_KEY.',
    env: 'ADMIN_API_KEY',
  },
  threads: {
    schema: count.max(1_024).optional(),
    doc: 'Compute threads; all cores when absent. Share the cores out among instances of one machine.',
  },
  chunkTokens: {
    schema: count.max(65_536).default(256),
    doc: 'Tokens of a KV chunk; equal in all instances that share KV.',
  },
  sharedMemory: {
    schema: flag.default(true),
    kind: 'flag',
    doc: 'Move KV through shared memory where both ends are on one host; --no-shared-memory uses TCP.',
  },
  shutdownTimeout: {
    schema: z.coerce.number().nonnegative().default(30),
    doc: 'Seconds that running answers get to finish after SIGTERM.',
  },
  dtype: accepted('Number format of the weights; a GGUF file fixes it.'),
  quantization: accepted('Form of the weights; a GGUF file fixes it.', ['q']),
  kvCacheDtype: accepted('Number format of the KV; always f16 here, which keeps it exact.'),
  blockSize: accepted('Size of a block of KV; slots have whole contexts here.'),
  swapSpace: accepted('GiB of main memory for KV; all KV is in main memory here.'),
  pipelineParallelSize: accepted('Stages of a pipeline; one process computes all here.', ['pp']),
  loadFormat: accepted('Form of the file; always GGUF here.'),
  tokenizer: accepted("Another model's tokenizer; the GGUF file's own is used here."),
  distributedExecutorBackend: accepted('How workers are started; there are none here.'),
  seed: accepted('Seed of the engine; every request draws its own or names one here.'),
  enforceEager: acceptedFlag('Runs without CUDA graphs; there are none here.'),
  trustRemoteCode: acceptedFlag("Runs a model's own code; a GGUF file has none."),
  disableLogRequests: acceptedFlag('Prompts are never logged here.'),
  disableLogStats: acceptedFlag('Statistics are at /metrics and never logged here.'),
  enablePrefixCaching: acceptedFlag('Prefixes are always reused here.'),
  enableChunkedPrefill: acceptedFlag('Prompts are always computed in pieces here.'),
  help: { schema: flag, kind: 'flag', doc: 'Prints this text.', aliases: ['h'] },
} as const satisfies Options;

export type ServeOptions = OptionValues<typeof serveOptions>;

function accepted(meaning: string, aliases: readonly string[] = []) {
  return { schema: z.string().optional(), doc: `${acceptedMark}${meaning}`, aliases } as const;
}

function acceptedFlag(meaning: string) {
  return {
    schema: z.union([z.boolean(), z.stringbool()]).optional(),
    kind: 'flag',
    doc: `${acceptedMark}${meaning}`,
  } as const;
}

/** Environment variables of the guide, with what they mean here. */
const environmentMeanings: Readonly<Record<string, string>> = {
  VLLM_USE_V1: 'chooses an engine of vLLM; there is one engine here',
  VLLM_USE_MODELSCOPE: 'chooses where vLLM downloads models; nothing is downloaded here',
  CUDA_VISIBLE_DEVICES: 'chooses GPUs; this instance computes on the CPU',
};

/** One line for each thing that was given and means something else here than in vLLM. */
export function serveNotices(
  options: ServeOptions,
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  const notices: string[] = [];
  for (const [name, option] of Object.entries(serveOptions)) {
    if (option.doc.startsWith(acceptedMark) && options[name as keyof ServeOptions] !== undefined) {
      const spelling = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      notices.push(`--${spelling}: ${option.doc.slice(acceptedMark.length)}`);
    }
  }
  if (options.tensorParallelSize > 1) {
    notices.push(
      `--tensor-parallel-size ${options.tensorParallelSize}: one process computes the whole model; KV is shared only with instances of the same size`,
    );
  }
  for (const [name, meaning] of Object.entries(environmentMeanings)) {
    if (env[name] !== undefined) notices.push(`${name} ${meaning}`);
  }
  return notices;
}
