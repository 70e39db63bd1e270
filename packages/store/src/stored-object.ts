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
  /** At least one; in the master's order. */
  readonly replicas: readonly MemoryReplica[];
  /** On the monotonic clock. Until then the master neither removes nor evicts it, unless forced. */
  readonly leaseUntilMs: number;
}

/** One object to put. */
export interface PutEntry {
  readonly key: string;
  readonly byteCount: number;
  /** Writes all `byteCount` bytes. Called at most once, and never after the put has settled. */
  fill(destination: Buffer): void;
}

/**
 * - `present`: somebody's complete object is there; nothing was filled.
 * - `in-progress`: another writer is at it.
 * - `no-space`: no segment has room now; the master makes some.
 * - `failed`: master or segment could not be reached in time.
 */
export type PutOutcome = 'stored' | 'present' | 'in-progress' | 'no-space' | 'failed';

/** `lease-expired`: it took too long, the bytes may be another object's. */
export type ReadOutcome = 'read' | 'lease-expired' | 'failed';

export type RemoveOutcome = 'removed' | 'missing' | 'in-use' | 'failed';

/** Limits of one call; the default limit of each operation is in `StoreTimeouts`. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}
