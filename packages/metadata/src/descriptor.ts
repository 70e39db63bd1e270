import { type Address, Fault } from '@tsukimi/base';
import { z } from 'zod';
import type { JsonValue } from './json.ts';

/**
 * Keys and values of the transfer engine's metadata, after Mooncake's
 * `mooncake-transfer-engine/src/transfer_metadata.cpp` (0.3.13). Fields that are not listed are dropped.
 */

/** Where the handshake daemon of an engine listens. */
export interface RpcMeta {
  readonly host: string;
  readonly rpcPort: number;
}

/** Memory of an engine that its peers may read and write. */
export interface RegisteredBuffer {
  readonly name: string;
  /** Virtual address in the owner's process. */
  readonly address: bigint;
  readonly byteCount: number;
}

/** The file below a registered buffer, for readers on the same host. */
export interface SharedBuffer {
  readonly address: bigint;
  readonly byteCount: number;
  readonly path: string;
  readonly inode: number;
}

export interface SegmentDescriptor {
  readonly name: string;
  readonly protocols: readonly string[];
  /** Null where the writer is older than 0.3.13.post1: then the host of its `RpcMeta` is meant. */
  readonly tcpDataHost: string | null;
  readonly tcpDataPort: number;
  /** 1 or 2, see the data plane. */
  readonly tcpProtoVersion: number;
  /** Local time `YYYY-MM-DD HH:MM:SS.ffffff`, for people. */
  readonly timestamp: string;
  readonly buffers: readonly RegisteredBuffer[];
  /** Only from our own engines: `host` tells whether the files can be opened here. */
  readonly sharedMemory: {
    readonly host: string;
    readonly buffers: readonly SharedBuffer[];
  } | null;
  /** Only from our own engines: what their data port can do beyond the protocol. */
  readonly ownTarget: OwnTarget | null;
}

interface OwnTarget {
  /** So many requests may be sent on one connection before the first is answered. */
  readonly requestsAhead: number;
  /** Where else it listens, on other network interfaces. */
  readonly addresses: readonly Address[];
}

const bufferCountMax = 4_096;
const port = z.number().int().min(0).max(65_535);
const address = z
  .union([z.number().int().positive(), z.bigint().positive()])
  .transform((value) => BigInt(value))
  .refine((value) => value < 2n ** 64n);
const byteCount = z.number().int().positive().max(Number.MAX_SAFE_INTEGER);
const name = z.string().min(1).max(1_024);

const rpcMetaSchema = z.object({ ip_or_host_name: name, rpc_port: port });

const descriptorSchema = z.object({
  name,
  protocol: z.union([z.string().max(64), z.array(z.string().max(64)).max(32)]),
  tcp_data_host: z.string().max(1_024).optional(),
  tcp_data_port: port.default(0),
  tcp_proto_version: z.number().int().min(0).default(1),
  timestamp: z.string().max(64).default(''),
  buffers: z
    .array(z.object({ name, addr: address, length: byteCount }))
    .max(bufferCountMax)
    .default([]),
  tsukimi_shm: z
    .object({
      host: z.string().max(256),
      buffers: z
        .array(
          z.object({
            addr: address,
            length: byteCount,
            path: z.string().max(256),
            inode: z.number().int().nonnegative(),
          }),
        )
        .max(bufferCountMax),
    })
    .optional()
    // A broken hint of ours must not cost the way over TCP.
    .catch(undefined),
  tsukimi_tcp: z
    .object({
      requests_ahead: z.number().int().min(1).max(1_024),
      addresses: z
        .array(z.object({ host: z.string().min(1).max(256), port: port.min(1) }))
        .max(16)
        .default([]),
    })
    .optional()
    .catch(undefined),
});

/** `clusterId` keeps clusters apart that share a metadata server (`MC_METADATA_CLUSTER_ID`). */
export function segmentKey(segmentName: string, clusterId = ''): string {
  const bare = segmentName.replace(/^\/+/, '');
  return `${prefix(clusterId)}${bare.includes('/') ? '' : 'ram/'}${bare}`;
}

export function rpcMetaKey(serverName: string, clusterId = ''): string {
  return `${prefix(clusterId)}rpc_meta/${serverName}`;
}

function prefix(clusterId: string): string {
  return `mooncake/${clusterId}${clusterId === '' || clusterId.endsWith('/') ? '' : '/'}`;
}

export function parseRpcMeta(value: JsonValue, what: string): RpcMeta {
  const parsed = rpcMetaSchema.safeParse(value);
  if (!parsed.success) throw malformed(what, parsed.error);
  return { host: parsed.data.ip_or_host_name, rpcPort: parsed.data.rpc_port };
}

export function formatRpcMeta(meta: RpcMeta): JsonValue {
  return { ip_or_host_name: meta.host, rpc_port: meta.rpcPort };
}

/** One invalid buffer makes the whole descriptor unusable, as it does for Mooncake's reader. */
export function parseSegmentDescriptor(value: JsonValue, what: string): SegmentDescriptor {
  const parsed = descriptorSchema.safeParse(value);
  if (!parsed.success) throw malformed(what, parsed.error);
  const raw = parsed.data;
  return {
    name: raw.name,
    protocols: typeof raw.protocol === 'string' ? [raw.protocol] : raw.protocol,
    tcpDataHost:
      raw.tcp_data_host === undefined || raw.tcp_data_host === '' ? null : raw.tcp_data_host,
    tcpDataPort: raw.tcp_data_port,
    tcpProtoVersion: raw.tcp_proto_version,
    timestamp: raw.timestamp,
    buffers: raw.buffers.map((buffer) => ({
      name: buffer.name,
      address: buffer.addr,
      byteCount: buffer.length,
    })),
    sharedMemory:
      raw.tsukimi_shm === undefined
        ? null
        : {
            host: raw.tsukimi_shm.host,
            buffers: raw.tsukimi_shm.buffers.map(({ addr, length, path, inode }) => ({
              address: addr,
              byteCount: length,
              path,
              inode,
            })),
          },
    ownTarget:
      raw.tsukimi_tcp === undefined
        ? null
        : {
            requestsAhead: raw.tsukimi_tcp.requests_ahead,
            addresses: raw.tsukimi_tcp.addresses,
          },
  };
}

/** One protocol is written as a string, as builds without multi-protocol support expect it. */
export function formatSegmentDescriptor(descriptor: SegmentDescriptor): JsonValue {
  const [only, ...others] = descriptor.protocols;
  return {
    name: descriptor.name,
    protocol: others.length === 0 ? (only ?? 'tcp') : descriptor.protocols,
    tcp_data_host: descriptor.tcpDataHost ?? undefined,
    tcp_data_port: descriptor.tcpDataPort,
    tcp_proto_version: descriptor.tcpProtoVersion,
    timestamp: descriptor.timestamp,
    buffers: descriptor.buffers.map((buffer) => ({
      name: buffer.name,
      addr: buffer.address,
      length: buffer.byteCount,
    })),
    tsukimi_shm:
      descriptor.sharedMemory === null
        ? undefined
        : {
            host: descriptor.sharedMemory.host,
            buffers: descriptor.sharedMemory.buffers.map((buffer) => ({
              addr: buffer.address,
              length: buffer.byteCount,
              path: buffer.path,
              inode: buffer.inode,
            })),
          },
    tsukimi_tcp:
      descriptor.ownTarget === null
        ? undefined
        : {
            requests_ahead: descriptor.ownTarget.requestsAhead,
            addresses: descriptor.ownTarget.addresses.map(({ host, port: at }) => ({
              host,
              port: at,
            })),
          },
  };
}

function malformed(what: string, error: z.ZodError): Fault {
  const issue = error.issues[0];
  const where = issue === undefined ? '' : ` at "${issue.path.join('.')}" (${issue.message})`;
  return new Fault('MALFORMED', `${what}: cannot be read${where}`);
}
