import {
  type Clock,
  formatAddress,
  formatByteSize,
  HttpService,
  type Logger,
  type Random,
  Resource,
  type Service,
} from '@tsukimi/base';
import { openMetadataStore } from '@tsukimi/metadata';
import { removeStaleSegments, TransferEngine } from '@tsukimi/transfer';
import type { DiskTierSettings } from '../disk/disk-tier.ts';
import { freePort } from '../free-port.ts';
import { describeMasterAddress } from '../master-address.ts';
import type { MooncakeConfig } from '../mooncake-config.ts';
import { StoreClient } from '../store-client.ts';
import { nodeSegmentByteCountDefault, readNodeConfig } from './node-config.ts';
import { nodeMetricsText } from './node-metrics.ts';
import type { NodeOptions } from './options.ts';
import { RestApi } from './rest-api.ts';

/** What a storage node may touch of the world. */
export interface NodeWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface StorageNode {
  /** In the order in which they start. */
  readonly services: readonly Service[];
  /** One sentence for each thing that the operator should know. */
  readonly notices: readonly string[];
  readonly store: StoreClient;
  /** Once all have started: what it lends, and which ports are open. */
  describe(): string;
}

const connectionCountMax = 1_024;
/** Where the original keeps objects when nobody says where. */
const offloadPathDefault = '/data/file_storage';

/** Memory of a host as a member of the store, with Mooncake's REST interface to it. */
export async function createStorageNode(
  options: NodeOptions,
  world: NodeWorld,
): Promise<StorageNode> {
  const { clock, random, logger, env } = world;
  const config = readNodeConfig(options, env);
  const ports = { clock, random, logger };
  const { localHostname: host, localPort } = config;
  const metadata =
    config.metadata.kind === 'p2p' ? null : await openMetadataStore(config.metadata, ports);
  if (options.sharedMemory) removeStaleSegments();
  const listenHost = listenHostFor(host, options.host);
  // The port of its own tells it from other nodes of this host, unless the configuration does.
  const dataPort = localPort === null ? await freePort(listenHost) : 0;
  const name = formatAddress({ host, port: localPort ?? dataPort });
  const engine = new TransferEngine({
    ...ports,
    name,
    metadata,
    clusterId: config.metadataClusterId,
    host,
    listenHost,
    dataPort,
    sharedMemory: options.sharedMemory,
  });
  const byteCount = config.globalSegmentByteCount ?? nodeSegmentByteCountDefault;
  const store = new StoreClient({
    ...ports,
    masterAddress: config.masterAddress,
    engine,
    localHostname: name,
    tenantId: config.tenantId,
    checksums: isOn(env['MOONCAKE_STORE_CHECKSUM']),
    segment: byteCount === 0 ? null : { byteCount, shared: options.sharedMemory },
    disk: diskSettings(options, config, env),
    timeouts: { lookupMs: 5_000, transferMs: 60_000, controlMs: 5_000 },
  });
  const api = new RestApi({
    store,
    sharedMemory: options.sharedMemory,
    metrics: () => nodeMetricsText(store),
    clock,
    logger,
  });
  const restPorts = [options.port, ...(options.enableHttpServer ? [options.httpPort] : [])];
  const servers = restPorts.map(
    (port) =>
      new HttpService({
        name: 'REST interface',
        host: options.host,
        port,
        connectionCountMax,
        listener: api.handle,
      }),
  );
  const [rest] = servers as [HttpService];
  return {
    services: [
      ...(metadata === null ? [] : [new Resource('metadata client', () => metadata.close())]),
      engine,
      store,
      ...servers,
    ],
    notices: config.notices,
    store,
    describe: () =>
      [
        `storage node ${name} lends ${formatByteSize(byteCount)} to ${describeMasterAddress(config.masterAddress)}`,
        `REST on http://${formatAddress({ host: options.host, port: rest.port })}`,
        `transfers on port ${engine.dataPort}`,
        ...(store.disk === null ? [] : [`disk tier at ${store.disk.endpoint}`]),
        "neither asks who is calling: let only the cluster's machines reach them",
      ].join('; '),
  };
}

/** Peers connect to the local hostname; a node that only its own host knows by name listens there alone. */
function listenHostFor(localHostname: string, restHost: string): string {
  const isLoopback = /^(localhost|127\.[\d.]+|::1)$/.test(localHostname);
  if (isLoopback) return localHostname === 'localhost' ? '127.0.0.1' : localHostname;
  return restHost;
}

/** As Mooncake reads its switches. */
function isOn(value = ''): boolean {
  return ['1', 'true', 'yes', 'on'].includes(value.trim().toLowerCase());
}

/** Naming a directory turns the disk tier on, as does `enable_ssd_offload`. */
function diskSettings(
  options: NodeOptions,
  { localHostname, offload }: MooncakeConfig,
  env: NodeWorld['env'],
): DiskTierSettings | undefined {
  const offloadPath = offload?.path ?? env['MOONCAKE_OFFLOAD_FILE_STORAGE_PATH'];
  const fallback = offload === null ? [] : [offloadPath ?? offloadPathDefault];
  const directories = options.diskDir.length > 0 ? options.diskDir : fallback;
  if (directories.length === 0 || options.enableOffload === false) return undefined;
  const limit = Number(env['MOONCAKE_OFFLOAD_TOTAL_SIZE_LIMIT_BYTES']);
  return {
    directories,
    capacity: options.diskCapacity ?? (Number.isSafeInteger(limit) && limit > 0 ? limit : null),
    policy: options.diskEviction,
    bufferByteCount: options.diskBufferSize,
    listenHost: options.startOffloadRpcServer ? listenHostFor(localHostname, options.host) : null,
  };
}
