import type { Expected, ReplicaDescriptor, ReplicateConfig } from '@tsukimi/wire';

/** One copy of an object in the memory of some store client. */
export interface MemoryReplica {
  /** The transfer engine that holds it. */
  readonly endpoint: string;
  /** Virtual address there. */
  readonly address: bigint;
}

/** Where an object lies, as of one look-up. */
export interface StoredObject {
  readonly key: string;
  readonly byteCount: number;
  /** In the master's order; none where only disks have it. */
  readonly replicas: readonly MemoryReplica[];
  /** All copies as the master describes them, also those that are not in memory. */
  readonly descriptors: readonly ReplicaDescriptor[];
  /** CRC-64/ECMA-182 of the bytes, where the writer gave one. */
  readonly checksum: bigint | null;
  /** On the monotonic clock. Until then the master neither removes nor evicts it, unless forced. */
  readonly leaseUntilMs: number;
}

/** One object to put. */
export interface PutEntry {
  readonly key: string;
  readonly byteCount: number;
  /**
   * Writes all `byteCount` bytes. Called again, with the same to write, only when a segment did not take
   * them, and never after the put has settled.
   */
  fill(destination: Buffer): void;
}

/**
 * - `present`: somebody's complete object is there; nothing was filled.
 * - `in-progress`: another writer is at it.
 * - `no-space`: no segment has room now; the master makes some.
 * - `failed`: master or segment could not be reached in time.
 */
export type PutOutcome = 'stored' | 'present' | 'in-progress' | 'no-space' | 'failed';

/**
 * - `lease-expired`: it took too long, the bytes may be another object's.
 * - `damaged`: no replica has the bytes that the writer's checksum speaks of.
 */
export type ReadOutcome = 'read' | 'lease-expired' | 'damaged' | 'failed';

export type RemoveOutcome = 'removed' | 'missing' | 'in-use' | 'failed';

/** Limits of one call; the default limit of each operation is in `StoreTimeouts`. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/**
 * A value, or the number of one of Mooncake's errors; see `ErrorCode`. Of this client's own making:
 * - `UNAVAILABLE_IN_CURRENT_STATUS`: it is stopping or has stopped;
 * - `RPC_FAIL`: the master does not answer, or answers what cannot be read;
 * - `RPC_TIMEOUT`: the time was up, or the caller gave up;
 * - `INVALID_PARAMS`: refused without a call;
 * - `TRANSFER_FAIL`, `LEASE_EXPIRED`, `CHECKSUM_MISMATCH`: see the call.
 */
export type Outcome<T> = Expected<T>;

/** A value to store: its bytes, or parts that are joined. */
export type Value = Buffer | readonly Buffer[];

export interface WriteOptions extends CallOptions {
  /** How to store it; what is left out is Mooncake's default. */
  readonly config?: Partial<ReplicateConfig>;
}

/** Bytes of an object that are wanted at a place. */
export interface ByteRange {
  /** In the object. */
  readonly offset: number;
  /** Filled completely. */
  readonly into: Buffer;
}
