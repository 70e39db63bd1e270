import {
  type Clock,
  formatAddress,
  type Logger,
  type Random,
  Resource,
  type Service,
} from '@tsukimi/base';
import { KvConnector, type ModelIdentity, PrivateChunks, StoreChunks } from '@tsukimi/kv-connector';
import { openMetadataStore } from '@tsukimi/metadata';
import { freePort, type MooncakeConfig, StoreClient } from '@tsukimi/store';
import { removeStaleSegments, TransferEngine } from '@tsukimi/transfer';
import type { KvRole } from './kv-transfer-config.ts';
import type { ServeOptions } from './options.ts';
import { StoreJoin } from './store-join.ts';

export interface KvSharingOptions {
  readonly serve: Pick<
    ServeOptions,
    'host' | 'sharedMemory' | 'chunkTokens' | 'tensorParallelSize'
  >;
  /** Null keeps a prefix cache in this process alone. */
  readonly cluster: { readonly role: KvRole; readonly mooncake: MooncakeConfig } | null;
  readonly model: ModelIdentity;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Where an instance's KV goes and comes from, and what has to run for that, in order of start. */
export interface KvSharing {
  readonly connector: KvConnector;
  readonly services: readonly Service[];
  /** Null where there is no store. */
  readonly storeReachable: () => boolean | null;
}

export const globalSegmentByteCountDefault = 256 * 2 ** 20;

/** Bytes that an instance sets aside for chunks: lent to the store, or its own cache. */
export function segmentByteCountOf(cluster: KvSharingOptions['cluster']): number {
  if (cluster === null) return globalSegmentByteCountDefault;
  if (cluster.role === 'kv_consumer') return 0;
  return cluster.mooncake.globalSegmentByteCount ?? globalSegmentByteCountDefault;
}

export async function openKvSharing(options: KvSharingOptions): Promise<KvSharing> {
  const { serve, cluster, model, clock, random, logger } = options;
  const common = {
    model,
    tensorParallelSize: serve.tensorParallelSize,
    tensorParallelRank: 0,
    chunkLength: serve.chunkTokens,
    clock,
    logger,
  };
  if (cluster === null) {
    const chunks = new PrivateChunks({ byteCountMax: segmentByteCountOf(null) });
    const connector = new KvConnector({ ...common, chunks, role: 'both' });
    return { connector, services: [], storeReachable: () => null };
  }
  const { mooncake, role } = cluster;
  const metadata =
    mooncake.metadata.kind === 'p2p'
      ? null
      : await openMetadataStore(mooncake.metadata, { clock, logger });
  const host = mooncake.localHostname;
  const listenHost = listenHostFor(host, serve.host);
  // One file serves all instances of a node: the port of its own tells them apart.
  const dataPort = await freePort(listenHost);
  const name = formatAddress({ host, port: dataPort });
  if (serve.sharedMemory) removeStaleSegments();
  const transfer = new TransferEngine({
    name,
    metadata,
    clusterId: mooncake.metadataClusterId,
    host,
    listenHost,
    dataPort,
    sharedMemory: serve.sharedMemory,
    clock,
    random,
    logger,
  });
  const byteCount = segmentByteCountOf(cluster);
  const store = new StoreClient({
    masterAddress: mooncake.masterAddress,
    engine: transfer,
    localHostname: name,
    tenantId: mooncake.tenantId,
    segment: byteCount === 0 ? null : { byteCount, shared: serve.sharedMemory },
    clock,
    random,
    logger,
  });
  const connector = new KvConnector({
    ...common,
    chunks: new StoreChunks(store),
    role: connectorRoles[role],
  });
  return {
    connector,
    services: [
      ...(metadata === null ? [] : [new Resource('metadata client', () => metadata.close())]),
      transfer,
      store,
      new StoreJoin({ isReachable: () => store.reachable, clock, logger }),
    ],
    storeReachable: () => store.reachable,
  };
}

const connectorRoles = {
  kv_producer: 'producer',
  kv_consumer: 'consumer',
  kv_both: 'both',
} as const;

/** Peers connect to the name in `mooncake.json`; all interfaces are opened only where the API has them too. */
function listenHostFor(localHostname: string, apiHost: string): string {
  const loopback = /^(localhost|127\.[\d.]+|::1)$/.test(localHostname);
  const wildcard = apiHost === '0.0.0.0' || apiHost === '::';
  if (wildcard && !loopback) return apiHost;
  return localHostname === 'localhost' ? '127.0.0.1' : localHostname;
}
