import type { HotObjectOptions } from './hot-objects.ts';
import type { AllocationStrategy } from './segment-table.ts';
import type { TaskLimits } from './task-table.ts';

/** What the rules of the master depend on. */
export interface CoreOptions extends TaskLimits, Omit<HotObjectOptions, 'random'> {
  readonly leaseTtlMs: number;
  readonly clientTtlMs: number;
  /** How much longer a silent client is suspected before it is gone. */
  readonly clientSuspicionTtlMs: number;
  /** From this age on, another put may take over a key whose write has not ended. */
  readonly putDiscardTimeoutMs: number;
  /** At this age the bytes of a write that has not ended return. Longer than any transfer takes. */
  readonly putReleaseTimeoutMs: number;
  readonly softPinTtlMs: number;
  readonly softPinTtlMsMax: number;
  /** Whether soft pinned objects go when nothing else is left. */
  readonly evictSoftPinned: boolean;
  /** The part of the objects that one round of eviction takes. */
  readonly evictionRatio: number;
  /** The part of the memory in use from which eviction works. */
  readonly evictionHighWatermark: number;
  readonly allocationStrategy: AllocationStrategy;
  readonly objectCountMax: number;
  readonly segmentCountMax: number;
  readonly clientCountMax: number;
  readonly keyLengthMax: number;
  /** A client that was known from before and is not heard for so long is dead. */
  readonly unheardTtlMs: number;
  /**
   * How long a segment that comes back, and that this master does not have, takes no objects: another
   * master, or this one before it gave up the client, may have let others read or write there. A lease
   * and the longest transfer are over by then.
   */
  readonly remountRestMs: number;
  /** Whether the tenants that callers name are told apart; otherwise there is one. */
  readonly isMultiTenant: boolean;
  /** Where clients keep files of objects that all of them can read; empty: they keep none. */
  readonly sharedDirectory: string;
  /** What that directory can hold; 0: nobody told. */
  readonly sharedCapacityByteCount: number;
  /** Whether clients may lend their own disks. */
  readonly enableOffload: boolean;
  /** Whether objects go to disk when they are evicted, rather than when they are written. */
  readonly offloadOnEvict: boolean;
  /** Whether objects that no disk takes are evicted all the same. */
  readonly offloadForceEvict: boolean;
  /** So many objects at most wait for one client to write them to its disk. */
  readonly offloadingQueueLimit: number;
  /** The part of that limit which one round of eviction may fill before it evicts by force. */
  readonly offloadCapRatio: number;
  /** Whether objects that lie on a disk alone come back to memory when they are read. */
  readonly promotionOnHit: boolean;
  /** So often must an object have been read for that. */
  readonly promotionAdmissionThreshold: number;
  /** So many objects at most are on their way back. */
  readonly promotionQueueLimit: number;
  /** So many are told to a client at once. */
  readonly promotionMaxPerHeartbeat: number;
  /** How often a client tries a task; it is told so. */
  readonly taskRetryCountMax: number;
}

export const defaultCoreOptions: CoreOptions = {
  leaseTtlMs: 10_000,
  clientTtlMs: 10_000,
  clientSuspicionTtlMs: 0,
  putDiscardTimeoutMs: 30_000,
  putReleaseTimeoutMs: 600_000,
  softPinTtlMs: 1_800_000,
  softPinTtlMsMax: 86_400_000,
  evictSoftPinned: true,
  evictionRatio: 0.05,
  evictionHighWatermark: 0.9,
  allocationStrategy: 'random',
  objectCountMax: 2_000_000,
  segmentCountMax: 16_384,
  clientCountMax: 16_384,
  keyLengthMax: 4_096,
  unheardTtlMs: 30_000,
  remountRestMs: 15_000,
  isMultiTenant: false,
  sharedDirectory: '',
  sharedCapacityByteCount: 0,
  enableOffload: false,
  offloadOnEvict: false,
  offloadForceEvict: false,
  offloadingQueueLimit: 50_000,
  offloadCapRatio: 0.5,
  promotionOnHit: false,
  promotionAdmissionThreshold: 2,
  promotionQueueLimit: 50_000,
  promotionMaxPerHeartbeat: 1,
  dynamicReplicationMode: 'off',
  hotWindowMs: 10_000,
  hotReadsPerSecond: 0.8,
  hotReplicaCountMax: 2,
  taskPendingCountMax: 10_000,
  taskProcessingCountMax: 10_000,
  taskFinishedCountMax: 10_000,
  taskPendingTimeoutMs: 300_000,
  taskProcessingTimeoutMs: 300_000,
  taskRetryCountMax: 10,
};

/**
 * How long bytes that a client has given up writing stay out of use: until a holder that hangs, and may
 * still take them in, is given up itself; where none ever is, as long as a write may take at most.
 */
export function abandonedRestMs(options: CoreOptions): number {
  const { clientTtlMs, clientSuspicionTtlMs, putReleaseTimeoutMs } = options;
  return Math.min(clientTtlMs + clientSuspicionTtlMs, putReleaseTimeoutMs);
}
