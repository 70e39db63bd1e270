import { SystemClock, SystemRandom, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { openMetadataStore, parseMetadataAddress } from '@tsukimi/metadata';
import { parseMasterAddress, StoreClient } from '@tsukimi/store';
import { TransferEngine } from '@tsukimi/transfer';

export interface OwnClient extends AsyncDisposable {
  readonly store: StoreClient;
  readonly engine: TransferEngine;
}

export interface OwnClientOptions {
  /** `host:port`, unique. */
  readonly name: string;
  /** As `metadata_server` of mooncake.json. */
  readonly metadata: string;
  readonly master: string;
  /** Where the name of a cluster with several masters is read. */
  readonly env?: Readonly<Record<string, string>>;
  /** 0 to lend none. */
  readonly segmentByteCount: number;
  readonly shared?: boolean;
  readonly checksums?: boolean;
  readonly tenantId?: string;
}

/** A store client of ours in this process, once the master serves it. */
export async function startOwnClient(options: OwnClientOptions): Promise<OwnClient> {
  const { name, segmentByteCount, shared = false, checksums = false } = options;
  const { tenantId = 'default' } = options;
  const common = { clock: new SystemClock(), random: new SystemRandom(), logger: silentLogger };
  const metadataAddress = parseMetadataAddress(options.metadata, {});
  const metadata =
    metadataAddress.kind === 'p2p' ? null : await openMetadataStore(metadataAddress, common);
  const engine = new TransferEngine({
    ...common,
    name,
    metadata,
    host: '127.0.0.1',
    sharedMemory: shared,
  });
  await engine.start();
  const store = new StoreClient({
    ...common,
    masterAddress: parseMasterAddress(options.master, options.env ?? {}),
    engine,
    localHostname: name,
    segment: segmentByteCount === 0 ? null : { byteCount: segmentByteCount, shared },
    checksums,
    tenantId,
    // A busy machine must not make a test fail.
    timeouts: { lookupMs: 10_000, transferMs: 60_000, controlMs: 10_000 },
  });
  await store.start();
  await eventually(() => store.reachable, 'the master to answer our client', 30_000);
  if (segmentByteCount > 0)
    await eventually(() => store.state === 'serving', 'the segment', 30_000);
  return {
    store,
    engine,
    async [Symbol.asyncDispose]() {
      await store.stop(AbortSignal.timeout(5_000));
      await engine.stop(AbortSignal.timeout(5_000));
      await metadata?.close();
    },
  };
}
