/**
 * A store client of ours in a process of its own, to be killed or stopped by a test. One JSON object a line on
 * standard input, `{"id", "call", "args"}`, answered by `{"id", "result"}` or `{"id", "raised"}`.
 */
import { createInterface } from 'node:readline';
import { parseAddress, SystemClock, SystemRandom, silentLogger } from '@tsukimi/base';
import {
  type ClosableMetadataStore,
  openMetadataStore,
  parseMetadataAddress,
} from '@tsukimi/metadata';
import { StoreClient } from '@tsukimi/store';
import { TransferEngine } from '@tsukimi/transfer';
import { answered, patternBytes } from './python-client.ts';

const common = { clock: new SystemClock(), random: new SystemRandom(), logger: silentLogger };
let metadata: ClosableMetadataStore | null = null;
let engine: TransferEngine | null = null;
let store: StoreClient | null = null;

interface Setup {
  readonly name: string;
  readonly metadata: string;
  readonly master: string;
  readonly segmentByteCount: number;
}

const calls: Readonly<Record<string, (...args: never[]) => Promise<unknown>>> = {
  async setup(setup: Setup) {
    const { name, segmentByteCount } = setup;
    metadata = await openMetadataStore(parseMetadataAddress(setup.metadata, {}), common);
    engine = new TransferEngine({
      ...common,
      name,
      metadata,
      host: '127.0.0.1',
      sharedMemory: false,
    });
    await engine.start();
    store = new StoreClient({
      ...common,
      masterAddress: parseAddress(setup.master, 'master'),
      engine,
      localHostname: name,
      segment: segmentByteCount === 0 ? null : { byteCount: segmentByteCount, shared: false },
      // Longer than the default, which a busy machine may miss.
      timeouts: { lookupMs: 1_000 },
    });
    await store.start();
    if (segmentByteCount > 0) await store.joined(AbortSignal.timeout(20_000));
    else while (!store.reachable) await new Promise((resolve) => setTimeout(resolve, 20));
    return 0;
  },
  async put(key: string, seed: number, byteCount: number) {
    const outcome = await theStore().objects.put(key, patternBytes(seed, byteCount));
    return 'error' in outcome ? outcome.error : 0;
  },
  async get(key: string) {
    const outcome = await theStore().objects.get(key);
    return 'error' in outcome ? null : answered(outcome.ok);
  },
  async exist(key: string) {
    const outcome = await theStore().objects.exist(key);
    return 'error' in outcome ? outcome.error : Number(outcome.ok);
  },
  async close() {
    await theStore().stop(AbortSignal.timeout(5_000));
    await engine?.stop(AbortSignal.timeout(5_000));
    await metadata?.close();
    return 0;
  },
};

function theStore(): StoreClient {
  if (store === null) throw new Error('not set up');
  return store;
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { id, call, args } = JSON.parse(line) as { id: number; call: string; args: never[] };
    const answer = (fields: object) =>
      process.stdout.write(`${JSON.stringify({ id, ...fields })}\n`);
    Promise.resolve()
      .then(() => calls[call]?.(...args))
      .then(
        (result) => answer({ result }),
        (error: Error) => answer({ raised: error.message }),
      );
  })
  .once('close', () => process.exit());
