import { type Address, Fault, formatAddress, parseAddress, withoutPassword } from '@tsukimi/base';
import {
  describeMetadataAddress,
  type EtcdAddress,
  parseMetadataAddress,
  type RedisAddress,
} from '@tsukimi/metadata';

/** Where the master is: at an address, or whoever leads according to etcd or redis. */
export type MasterAddress = Address | ElectedMaster;

const field = 'master_server_address';

interface ElectedMaster {
  readonly board: EtcdAddress | RedisAddress;
  readonly clusterId: string;
}

/**
 * Reads `host:port`, and the `etcd://a:2379,b:2379` and `redis://…` of a cluster with several masters,
 * whose name Mooncake's clients take from MC_STORE_CLUSTER_ID.
 */
export function parseMasterAddress(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): MasterAddress {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return parseAddress(text, field);
  if (/^(etcd|redis)/.test(scheme)) {
    const board = parseMetadataAddress(text, env, field);
    const clusterId = env['MC_STORE_CLUSTER_ID'] || 'mooncake_cluster';
    if (board.kind === 'etcd' || board.kind === 'redis') return { board, clusterId };
  }
  throw new Fault(
    'INVALID_ARGUMENT',
    `${field}: "${withoutPassword(text)}" finds the master through ${scheme}, which is not supported; use the master's host:port, etcd://host:2379 or redis://host:6379`,
  );
}

export function describeMasterAddress(address: MasterAddress): string {
  return 'board' in address ? describeMetadataAddress(address.board) : formatAddress(address);
}
