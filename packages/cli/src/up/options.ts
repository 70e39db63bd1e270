import { type OptionValues, optionTypes, parseByteSize } from '@tsukimi/base';
import { z } from 'zod';

const { port, count, ratio, flag } = optionTypes;

/** What an operator may set for a whole cluster on one machine. */
export const upOptions = {
  model: {
    schema: z.string().min(1).default('tsukimi-demo'),
    doc: 'Model of every instance: tsukimi-demo, tsukimi-demo-1m or the path of a GGUF file.',
    aliases: ['m'],
  },
  prefill: {
    schema: count.max(64).default(2),
    doc: 'Number of prefill instances.',
    aliases: ['p'],
  },
  decode: { schema: count.max(64).default(2), doc: 'Number of decode instances.', aliases: ['d'] },
  host: {
    schema: z.string().min(1).default('127.0.0.1'),
    doc: 'Address every process listens on.',
  },
  port: { schema: port.default(8000), doc: "The proxy's port, where clients connect." },
  prefillPort: {
    schema: port.default(8100),
    doc: 'Port of the first prefill instance; the others follow.',
  },
  decodePort: {
    schema: port.default(8200),
    doc: 'Port of the first decode instance; the others follow.',
  },
  metadataPort: { schema: port.default(8080), doc: 'Port of the metadata server.' },
  masterPort: { schema: port.default(50_051), doc: "The master's RPC port." },
  metricsPort: { schema: port.default(9003), doc: "The master's admin and metrics port." },
  journalDir: {
    schema: z.string().min(1).optional(),
    doc: "Directory of the master's journal, from which it has its objects again when it died and is started again.",
  },
  maxModelLen: {
    schema: count.optional(),
    doc: "Longest prompt plus answer in tokens; the model's own limit when absent.",
  },
  maxNumSeqs: {
    schema: count.max(256).default(8),
    doc: 'Sequences that one instance computes at once.',
  },
  gpuMemoryUtilization: {
    schema: ratio.default(0.9),
    doc: 'Share of the free memory that all instances together may plan for (on a CPU: of main memory).',
  },
  threads: {
    schema: count.optional(),
    doc: 'Compute threads of each instance; the cores are shared out when absent.',
  },
  segmentSize: {
    schema: z
      .string()
      .default('256mb')
      .refine((text) => parseByteSize(text) !== null, 'not a size such as 268435456 or 256mb'),
    doc: 'KVCache memory that each prefill instance lends to the store.',
  },
  scheduling: {
    schema: z.enum(['round_robin', 'least_load']).default('least_load'),
    doc: 'How the proxy picks instances: round_robin or least_load.',
  },
  sharedMemory: {
    schema: optionTypes.flag.default(true),
    kind: 'flag',
    doc: 'Move KV through shared memory; --no-shared-memory uses TCP.',
  },
  runDirectory: {
    schema: z.string().optional(),
    doc: 'Folder for logs and the generated mooncake.json; a folder of this user in the temporary directory when absent.',
    aliases: ['log-dir'],
  },
  adminApiKey: {
    schema: z.string().min(1).optional(),
    doc: 'Key for /instances/add; made up and printed when absent.',
    env: 'ADMIN_API_KEY',
  },
  help: { schema: flag, kind: 'flag', doc: 'Prints this text.', aliases: ['h'] },
} as const;

export type UpOptions = OptionValues<typeof upOptions>;
