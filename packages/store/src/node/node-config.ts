import { Fault } from '@tsukimi/base';
import {
  type MooncakeConfig,
  parseMooncakeConfig,
  readMooncakeFile,
  refusalOf,
} from '../mooncake-config.ts';
import type { NodeOptions } from './options.ts';

type Environment = Readonly<Record<string, string | undefined>>;
type Fields = Record<string, unknown>;

/** Memory that a node lends when nobody says how much, as the original. */
export const nodeSegmentByteCountDefault = 3_355_443_200;

/**
 * What a storage node is told: flags, then `--define`, then `mooncake.json`; without a file the
 * environment variables that Mooncake reads in its place.
 */
export function readNodeConfig(options: NodeOptions, env: Environment): MooncakeConfig {
  const path = options.config ?? env['MOONCAKE_CONFIG_PATH'];
  const fields = path === undefined ? fieldsOfEnvironment(env) : fieldsOfFile(path);
  Object.assign(fields, definedFields(options.define), fieldsOfFlags(options));
  if (fields['local_hostname'] === undefined) {
    const isWildcard = options.host === '0.0.0.0' || options.host === '::';
    fields['local_hostname'] = isWildcard ? 'localhost' : options.host;
  }
  const refuse =
    path === undefined
      ? (reason: string) =>
          new Fault(
            'INVALID_ARGUMENT',
            `${reason} (give --config, --master-server-address and the like, or MOONCAKE_MASTER)`,
          )
      : refusalOf(path);
  return parseMooncakeConfig(fields, env, refuse);
}

function fieldsOfFile(path: string): Fields {
  const content = readMooncakeFile(path);
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw refusalOf(path)('is not an object of fields');
  }
  return { ...content };
}

function fieldsOfEnvironment(env: Environment): Fields {
  return withoutAbsent({
    master_server_address: env['MOONCAKE_MASTER'],
    metadata_server: env['MOONCAKE_TE_META_DATA_SERVER'] ?? 'P2PHANDSHAKE',
    local_hostname: env['MOONCAKE_LOCAL_HOSTNAME'],
    global_segment_size: env['MOONCAKE_GLOBAL_SEGMENT_SIZE'],
    local_buffer_size: env['MOONCAKE_LOCAL_BUFFER_SIZE'],
    protocol: env['MOONCAKE_PROTOCOL'],
    device_name: env['MOONCAKE_DEVICE'],
    tenant_id: env['MOONCAKE_TENANT_ID'],
    enable_ssd_offload: env['MOONCAKE_OFFLOAD_ENABLED'],
  });
}

function definedFields(definitions: readonly string[]): Fields {
  const fields: Fields = {};
  for (const definition of definitions) {
    const at = definition.indexOf('=');
    if (at < 1) {
      throw new Fault('INVALID_ARGUMENT', `--define: "${definition}" is not field=value`);
    }
    fields[definition.slice(0, at)] = definition.slice(at + 1);
  }
  return fields;
}

function fieldsOfFlags(options: NodeOptions): Fields {
  return withoutAbsent({
    local_hostname: options.localHostname,
    metadata_server: options.metadataServer,
    master_server_address: options.masterServerAddress,
    global_segment_size: options.globalSegmentSize,
    local_buffer_size: options.localBufferSize,
    protocol: options.protocol,
    device_name: options.deviceName,
    tenant_id: options.tenantId,
    enable_ssd_offload: options.enableOffload,
  });
}

function withoutAbsent(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
