import { readFileSync } from 'node:fs';
import { Fault, jsonReason, parseByteSize } from '@tsukimi/base';
import { type MetadataAddress, parseMetadataAddress } from '@tsukimi/metadata';
import { z } from 'zod';
import { type MasterAddress, parseMasterAddress } from './master-address.ts';

/** The `mooncake.json` of the guide, checked. One file serves all instances of a node. */
export interface MooncakeConfig {
  /** Without a port: every process takes one of its own. */
  readonly localHostname: string;
  /** The port that `local_hostname` names; null where it has none. */
  readonly localPort: number | null;
  readonly metadata: MetadataAddress;
  /** Keeps clusters apart that share a metadata server; empty for none. */
  readonly metadataClusterId: string;
  readonly masterAddress: MasterAddress;
  /** Memory to lend to the store; null where the file does not say. */
  readonly globalSegmentByteCount: number | null;
  readonly tenantId: string;
  /** Where objects go that leave memory; null to keep none. */
  readonly offload: { readonly path: string | null } | null;
  /** One sentence for each thing in it that means something else here, or nothing. */
  readonly notices: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

const fileByteCountMax = 2 ** 20;

const byteSize = z
  .union([z.number().int().nonnegative(), z.string()])
  .transform((size) => parseByteSize(size))
  .refine((size) => size !== null, 'is not a size such as 268435456 or "256mb"')
  .transform((size) => size as number);

const schema = z.looseObject({
  local_hostname: z.string().min(1),
  metadata_server: z.string().min(1),
  master_server_address: z.string().min(1),
  protocol: z
    .string()
    .transform((name) => name.trim().toLowerCase())
    .pipe(z.enum(['tcp', 'rdma'], { error: 'must be "tcp" or "rdma"' }))
    .default('tcp'),
  device_name: z.string().nullable().default(''),
  global_segment_size: byteSize.optional(),
  local_buffer_size: byteSize.optional(),
  enable_ssd_offload: z.union([z.boolean(), z.stringbool()]).default(false),
  ssd_offload_path: z.string().nullable().default(''),
  tenant_id: z
    .string()
    .nullable()
    .transform((id) => id ?? 'default')
    .default('default'),
});

/**
 * Reads the file, and from the environment what Mooncake reads there. Every fault names the path, and the
 * field where one is at fault.
 */
export function readMooncakeConfig(path: string, env: Environment): MooncakeConfig {
  const refuse = refusalOf(path);
  return parseMooncakeConfig(readMooncakeFile(path), env, refuse);
}

/** How a file's faults are told. */
export function refusalOf(path: string): (reason: string) => Fault {
  return (reason) => new Fault('INVALID_ARGUMENT', `MOONCAKE_CONFIG_PATH: ${path}: ${reason}`);
}

/** What the file holds, unchecked. */
export function readMooncakeFile(path: string): unknown {
  const refuse = refusalOf(path);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw refuse(`cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`);
  }
  if (text.length > fileByteCountMax) throw refuse(`is larger than ${fileByteCountMax} bytes`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw refuse(`is not JSON: ${jsonReason(error)}`);
  }
}

/** Checks the fields of a file, or what was given in its place. */
export function parseMooncakeConfig(
  value: unknown,
  env: Environment,
  refuse: (reason: string) => Fault,
): MooncakeConfig {
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const reasons = parsed.error.issues.map((issue) => {
      const field = issue.path.join('.');
      const missing =
        field !== '' && (value as Record<string, unknown> | null)?.[field] === undefined;
      return field === '' ? issue.message : `${field}: ${missing ? 'is missing' : issue.message}`;
    });
    throw refuse(reasons.join('; '));
  }
  const {
    local_hostname: hostname,
    metadata_server: metadataServer,
    master_server_address: master,
    protocol,
    device_name: deviceName,
    global_segment_size: globalSegmentByteCount = null,
    local_buffer_size: localBufferByteCount,
    enable_ssd_offload: isOffloading,
    ssd_offload_path: offloadPath,
    tenant_id: tenantId,
    ...rest
  } = parsed.data;
  const notices: string[] = [];
  if (protocol === 'rdma') {
    notices.push('mooncake.json: protocol: rdma is not supported yet; TCP is used');
  }
  if (deviceName !== null && deviceName !== '') {
    notices.push('mooncake.json: device_name chooses an RDMA device and means nothing here');
  }
  if (localBufferByteCount !== undefined) {
    notices.push(
      'mooncake.json: local_buffer_size means nothing here: KV is copied straight to where it is used',
    );
  }
  for (const field of Object.keys(rest)) {
    notices.push(`mooncake.json: ${field} is unknown and ignored`);
  }
  const withPort = /^(\[[^\]]+\]|[^:]+):(\d+)$/.exec(hostname);
  const localPort = withPort === null ? null : Number(withPort[2]);
  if (localPort !== null && (localPort < 1 || localPort > 65_535)) {
    throw refuse(`local_hostname: "${hostname}" ends with no port from 1 to 65535`);
  }
  return {
    localHostname: (withPort?.[1] ?? hostname).replace(/^\[(.*)\]$/, '$1'),
    localPort,
    metadata: named(() => parseMetadataAddress(metadataServer, env), refuse),
    metadataClusterId: env['MC_METADATA_CLUSTER_ID'] ?? '',
    masterAddress: named(() => parseMasterAddress(master, env), refuse),
    globalSegmentByteCount,
    tenantId,
    offload: isOffloading ? { path: offloadPath === '' ? null : offloadPath } : null,
    notices,
  };
}

/** Where the master is and whose objects are spoken of. */
export interface MasterPlace {
  readonly master: MasterAddress;
  readonly tenantId: string;
}

/** Reads no more than that of a file, which may be vLLM's or an older one. */
export function readMasterPlace(path: string, env: Environment): MasterPlace {
  const refuse = refusalOf(path);
  const fields = schema.pick({ master_server_address: true, tenant_id: true });
  const parsed = fields.safeParse(readMooncakeFile(path));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw refuse(`${issue?.path.join('.') || 'the file'}: ${issue?.message ?? 'is no object'}`);
  }
  const { master_server_address: address, tenant_id: tenantId } = parsed.data;
  return { master: named(() => parseMasterAddress(address, env), refuse), tenantId };
}

/** Puts the file's path in front of what a field's own parser has to say. */
function named<T>(parse: () => T, refuse: (reason: string) => Fault): T {
  try {
    return parse();
  } catch (error) {
    if (Fault.has(error, 'INVALID_ARGUMENT')) throw refuse(error.message);
    throw error;
  }
}
