import type { Clock, Logger, Random } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import type { DiskTierSettings } from './disk/disk-tier.ts';
import type { MasterAddress } from './master-address.ts';
import type { SegmentSize } from './segments.ts';

export interface StoreClientOptions {
  readonly masterAddress: MasterAddress;
  /** Started before this client and stopped after it. Peers reach the segment through it. */
  readonly engine: TransferEngine;
  /** `host:port` by custom, unique in the cluster: the segment's name; tells the master which host this is. */
  readonly localHostname: string;
  /** Memory lent to the store; null to lend none. */
  readonly segment: SegmentSize | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Memory for objects on their way to segments of other hosts. */
  readonly stagingByteCountMax?: number;
  /** Whose objects these are, on a master that keeps tenants apart. */
  readonly tenantId?: string;
  /** Give the master checksums of what is put (`MOONCAKE_STORE_CHECKSUM`); what has one is always checked. */
  readonly checksums?: boolean;
  readonly timeouts?: Partial<StoreTimeouts>;
  /** Where objects go that leave this client's memory; nowhere when absent. */
  readonly disk?: DiskTierSettings | undefined;
}

/** Limits of operations that name none of their own. */
export interface StoreTimeouts {
  /** find, exist. */
  readonly lookupMs: number;
  /** put, read, get, as a whole. */
  readonly transferMs: number;
  /** remove, and each call of the life cycle. */
  readonly controlMs: number;
}

export const defaultTimeouts: StoreTimeouts = {
  lookupMs: 100,
  transferMs: 10_000,
  controlMs: 1_000,
};
