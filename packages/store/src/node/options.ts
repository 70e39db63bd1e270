import { type OptionValues, optionTypes, parseByteSize } from '@tsukimi/base';
import { z } from 'zod';

const byteSize = z
  .string()
  .transform((size) => parseByteSize(size))
  .refine((size) => size !== null, 'is not a size such as 268435456 or "256mb"')
  .transform((size) => size as number);
const text = z.string().min(1);
const ignored = 'Accepted and without meaning here.';

/**
 * Flags of `tsukimi store`, which are those of `mooncake_store_service` and of `mooncake_client` as well.
 * A flag beats the file; without a file the environment is read as Mooncake reads it.
 */
export const nodeOptions = {
  config: {
    schema: text.optional(),
    doc: 'Path of mooncake.json; MOONCAKE_CONFIG_PATH when absent.',
  },
  define: {
    schema: z.array(z.string()).default([]),
    kind: 'list',
    doc: 'field=value in place of what mooncake.json says.',
    aliases: ['D'],
  },
  host: {
    schema: text.default('0.0.0.0'),
    doc: 'Address to listen on; also the local hostname where nothing else says it and it is no wildcard.',
  },
  port: { schema: optionTypes.port.default(8080), doc: 'Port of the REST interface.' },
  localHostname: {
    schema: text.optional(),
    doc: 'Where peers reach this node; with a port it is the name of its segment.',
    aliases: ['Dlocal-hostname'],
  },
  metadataServer: {
    schema: text.optional(),
    doc: 'Connection string of the metadata server, or P2PHANDSHAKE.',
    aliases: ['Dmetadata-server'],
  },
  masterServerAddress: {
    schema: text.optional(),
    doc: 'host:port of the master.',
    aliases: ['Dmaster-server-address', 'master-server-addr'],
  },
  globalSegmentSize: {
    schema: byteSize.optional(),
    doc: 'Memory to lend to the store, such as 4gb; 0 lends none. 3.125 GiB unless said otherwise.',
    aliases: ['Dglobal-segment-size'],
  },
  localBufferSize: {
    schema: byteSize.optional(),
    doc: ignored,
    aliases: ['Dlocal-buffer-size'],
  },
  protocol: { schema: text.optional(), doc: 'tcp, or rdma.', aliases: ['Dprotocol'] },
  deviceName: {
    schema: z.string().optional(),
    doc: 'Chooses an RDMA device.',
    aliases: ['device-names', 'rdma-devices', 'Ddevice-name'],
  },
  tenantId: {
    schema: text.optional(),
    doc: 'Whose objects the REST interface speaks of.',
    aliases: ['Dtenant-id'],
  },
  enableOffload: {
    schema: z.union([z.boolean(), z.stringbool()]).optional(),
    kind: 'flag',
    doc: 'Keep objects on local disk too.',
    aliases: ['enable-ssd-offload', 'Denable-ssd-offload'],
  },
  diskDir: {
    schema: z.array(text).default([]),
    kind: 'list',
    doc: 'Directories for the disk tier, which naming one turns on. MOONCAKE_OFFLOAD_FILE_STORAGE_PATH.',
    aliases: ['ssd-offload-path', 'Dssd-offload-path'],
  },
  diskCapacity: {
    schema: byteSize.optional(),
    doc: 'Bytes for objects in each directory; 90% of the file system unless said otherwise. MOONCAKE_OFFLOAD_TOTAL_SIZE_LIMIT_BYTES.',
  },
  diskEviction: {
    schema: z.enum(['lru', 'fifo']).default('lru'),
    doc: 'Which objects leave a full disk first: those read longest ago (lru) or written first (fifo).',
  },
  diskBufferSize: {
    schema: byteSize.default(256 * 2 ** 20),
    doc: 'Memory from which peers read objects that lie on disk.',
  },
  startOffloadRpcServer: {
    schema: z.union([z.boolean(), z.stringbool()]).default(true),
    kind: 'flag',
    doc: 'Let peers read objects that lie on disk here.',
  },
  enableHttpServer: {
    schema: optionTypes.flag,
    kind: 'flag',
    doc: 'Serve /health and /metrics on --http-port too.',
  },
  httpPort: { schema: optionTypes.port.default(9300), doc: 'See --enable-http-server.' },
  threads: { schema: z.coerce.number().optional(), doc: ignored },
  maxWaitTime: {
    schema: z.coerce.number().optional(),
    doc: `${ignored} A master that is down is waited for without end.`,
  },
  sharedMemory: {
    schema: z.union([z.boolean(), z.stringbool()]).default(true),
    kind: 'flag',
    doc: 'Lend shared memory, which members on this host reach without a network.',
  },
  shutdownTimeout: {
    schema: z.coerce.number().nonnegative().default(10),
    doc: 'Seconds that what is under way may take once the node is told to stop.',
  },
  help: { schema: optionTypes.flag, kind: 'flag', doc: 'Prints this text.', aliases: ['h'] },
} as const;

export type NodeOptions = OptionValues<typeof nodeOptions>;
