import type { Clock, Logger, Random } from '@tsukimi/base';
import type { EtcdAddress, RedisAddress } from './metadata-address.ts';

/** Who leads the masters of a cluster, and since which election. */
export interface MasterView {
  /** `host:port` of its RPC server. */
  readonly address: string;
  /** Larger with each election. */
  readonly version: number;
}

/**
 * Where masters agree on a leader, with the keys and values of Mooncake, so that its clients follow ours
 * and ours follow its masters. Calls that get no answer in time reject with `PEER_UNREACHABLE`.
 */
export interface LeaderBoard {
  /** Null while nobody leads. */
  read(signal?: AbortSignal): Promise<MasterView | null>;
  /** Takes the lead if nobody has it, for the time to live; null when somebody has. */
  campaign(address: string): Promise<MasterView | null>;
  /** Keeps the lead for another time to live; false when it is lost. */
  renew(): Promise<boolean>;
  /** Lets others lead at once. */
  resign(): Promise<void>;
  close(): void;
}

export interface LeaderBoardOptions<A = EtcdAddress | RedisAddress> {
  readonly address: A;
  /** `--cluster_id` of the masters, `MC_STORE_CLUSTER_ID` of clients. */
  readonly clusterId: string;
  /** How long the lead lasts without being renewed, in whole seconds. */
  readonly ttlSec: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** For one call, so that a renewal that gets no answer can be tried again before the lead ends. */
export const boardCallMs = 1_000;

/** One slash at the end of a cluster's name is no part of it. */
export function clusterName(clusterId: string): string {
  return clusterId.endsWith('/') ? clusterId.slice(0, -1) : clusterId;
}
