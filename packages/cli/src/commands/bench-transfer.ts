import { Ending, Fault, optionTypes, parseByteSize, Resource, type Service } from '@tsukimi/base';
import { openMetadataStore, parseMetadataAddress } from '@tsukimi/metadata';
import { allocateMemory, type Memory, TransferEngine } from '@tsukimi/transfer';
import { z } from 'zod';
import {
  describeFigures,
  figuresAsJson,
  reportUnits,
  runTransferLoad,
  type TransferLoadOptions,
} from '../bench/transfer-load.ts';
import { type CommandContext, defineCommand } from '../command.ts';

const byteSize = z
  .string()
  .transform((text) => parseByteSize(text) ?? 0)
  .refine((size) => size > 0, 'is not a size such as 65536 or "64kb"');
const units = Object.keys(reportUnits) as (keyof typeof reportUnits)[];

const options = {
  mode: {
    schema: z.enum(['initiator', 'target']).default('initiator'),
    doc: 'initiator reads or writes blocks of a target; target waits for initiators.',
  },
  metadataServer: {
    schema: z.string().default('P2PHANDSHAKE'),
    doc: 'Where engines find each other, as in mooncake.json.',
  },
  localServerName: {
    schema: z.string().min(1).default('127.0.0.1'),
    doc: "This engine's name; its host is where peers reach it. With P2PHANDSHAKE the port is chosen and printed.",
  },
  segmentId: { schema: z.string().default(''), doc: "The target's name; for an initiator." },
  operation: { schema: z.enum(['read', 'write']).default('read'), doc: 'read or write.' },
  blockSize: { schema: byteSize.default(65_536), doc: 'Bytes of one transfer.' },
  batchSize: { schema: optionTypes.count.default(128), doc: 'Transfers submitted together.' },
  threads: { schema: optionTypes.count.default(12), doc: 'Batches under way at once.' },
  duration: { schema: optionTypes.count.default(10), doc: 'Seconds.' },
  bufferSize: { schema: byteSize.default(2 ** 30), doc: 'Bytes of memory, registered with peers.' },
  protocol: {
    schema: z.enum(['tcp'], { error: 'must be tcp, the only one there is' }).default('tcp'),
    doc: 'How bytes travel.',
  },
  deviceName: {
    schema: z.string().default(''),
    doc: 'Chooses an RDMA device for the original; means nothing here.',
  },
  sharedMemory: {
    schema: optionTypes.flag,
    kind: 'flag',
    doc: 'Use shared memory where the target is on this host and ours.',
  },
  reportUnit: { schema: z.enum(units).default('GB'), doc: `${units.join(', ')}, a second.` },
  reportPrecision: {
    schema: z.coerce.number().int().min(0).max(9).default(2),
    doc: 'Digits behind the point.',
  },
  json: { schema: optionTypes.flag, kind: 'flag', doc: 'Prints one JSON object instead.' },
  help: { schema: optionTypes.flag, kind: 'flag', doc: 'Prints this text.', aliases: ['h'] },
} as const;

export const benchTransferCommand = defineCommand({
  options,
  async run(values, context) {
    const { clock, random, logger, env, print, run } = context;
    const { mode, segmentId, localServerName, sharedMemory, json } = values;
    if (mode === 'initiator' && segmentId === '') {
      throw new Fault('INVALID_ARGUMENT', '--segment_id: is required for an initiator');
    }
    const address = parseMetadataAddress(values.metadataServer, env);
    const metadata = address.kind === 'p2p' ? null : await openMetadataStore(address, context);
    const [, host = localServerName] = /^\[?(.+?)\]?:\d+$/.exec(localServerName) ?? [];
    const engine = new TransferEngine({
      ...{ name: localServerName, metadata, host, sharedMemory },
      ...{ clock, random, logger },
    });
    const memory = allocateMemory({
      byteCount: values.bufferSize,
      shared: sharedMemory,
      label: '--buffer_size',
    });
    engine.register(memory);
    const services: Service[] = [engine];
    if (metadata !== null) services.unshift(new Resource('metadata', () => metadata.close()));
    if (mode === 'target') {
      const onReady = () => print(`target ${engine.name} with ${memory.byteCount} bytes\n`);
      return run(services, { shutdownTimeoutMs: 2_000, onReady });
    }
    const load = new Load(loadOptions(values, engine, memory, context), (figures) => {
      if (json) print(`${JSON.stringify(figuresAsJson(figures))}\n`);
      else print(`${describeFigures(figures, values.reportUnit, values.reportPrecision)}\n`);
    });
    await run([...services, load], { shutdownTimeoutMs: 2_000 });
  },
});

function loadOptions(
  values: Pick<
    TransferLoadOptions,
    'segmentId' | 'operation' | 'blockSize' | 'batchSize' | 'threads'
  > & { readonly duration: number },
  engine: TransferEngine,
  memory: Memory,
  { clock }: CommandContext,
): TransferLoadOptions {
  const { segmentId, operation, blockSize, batchSize, threads, duration } = values;
  const durationMs = duration * 1_000;
  return {
    ...{ engine, memory, clock, segmentId, operation },
    ...{ blockSize, batchSize, threads, durationMs },
  };
}

type Figures = Awaited<ReturnType<typeof runTransferLoad>>;

/** The load as a service that ends by itself. */
class Load implements Service {
  readonly name = 'transfer load';
  readonly #options: TransferLoadOptions;
  readonly #report: (figures: Figures) => void;
  readonly #ending = new Ending();
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: TransferLoadOptions, report: (figures: Figures) => void) {
    this.#options = options;
    this.#report = report;
  }

  async start(): Promise<void> {
    this.#running = runTransferLoad(this.#options, this.#stopping.signal).then(
      (figures) => {
        this.#report(figures);
        this.#ending.stopped();
      },
      (error: unknown) => this.#ending.died(error),
    );
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Fault('CANCELLED', 'the load is stopped'));
    await this.#running;
  }
}
