import { networkInterfaces } from 'node:os';
import { Fault, withoutPassword } from '@tsukimi/base';
import { type EtcdAddress, parseMetadataAddress, type RedisAddress } from '@tsukimi/metadata';
import type { Environment } from '../cleaned-metadata.ts';
import type { MasterOptions } from '../options.ts';

/** A leader that is not heard for so long is replaced; as in Mooncake. */
export const haLeaseTtlSec = 5;

/** Where the masters elect their leader. Throws `MISCONFIGURED`. */
export function boardAddress(
  { haBackendType, haBackendConnstring, etcdEndpoints }: MasterOptions,
  env: Environment,
): EtcdAddress | RedisAddress {
  const given = haBackendConnstring ?? (haBackendType === 'etcd' ? etcdEndpoints : undefined);
  const isEndpoints = haBackendConnstring === undefined && haBackendType === 'etcd';
  const option = isEndpoints ? '--etcd_endpoints' : '--ha_backend_connstring';
  if (given === undefined || given === '') {
    throw new Fault(
      'MISCONFIGURED',
      `--enable_ha needs ${option}, the address of ${haBackendType}`,
    );
  }
  const text = given.includes('://') ? given : `${haBackendType}://${given}`;
  const address = parseMetadataAddress(text.replace(/^http:/, 'etcd:'), env, option);
  if (address.kind === 'etcd' || address.kind === 'redis') return address;
  throw new Fault(
    'MISCONFIGURED',
    `${option}: "${withoutPassword(given)}" is neither etcd nor redis`,
  );
}

/** The address of this machine under which others reach a server on `host`. */
export function reachableHost(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return host;
  const outward = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4');
  return outward?.address ?? '127.0.0.1';
}
