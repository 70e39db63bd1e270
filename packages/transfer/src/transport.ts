import { type CancelSignal, Fault } from '@tsukimi/base';
import type { Peer } from './peer-directory.ts';

/** When a transfer must be over. */
export interface TransferLimit {
  /** The caller's; the transfer rejects with its reason. */
  readonly signal: CancelSignal | undefined;
  /** On the monotonic clock; the transfer rejects with `DEADLINE_PASSED`. */
  readonly endsAtMs: number;
}

/**
 * One way of moving bytes to and from a peer's memory. Promises of every adapter:
 * - nothing outside the peer's registered memory is touched; `REFUSED` when that is asked for
 *   (TCP in version 1 has no word for it and says `PEER_UNREACHABLE`);
 * - a peer that is gone rejects with `PEER_UNREACHABLE`;
 * - when the limit is reached the call rejects, see `TransferLimit`;
 * - once a call has settled, the caller's buffer is the caller's again.
 */
export interface Transport {
  readonly kind: 'local' | 'shm' | 'tcp';
  /** Whether bytes of this range can go this way now; if not, the next transport is asked. */
  reaches(peer: Peer, address: bigint, byteCount: number): boolean;
  /** Fills `into` with the peer's bytes from `address` on. */
  read(peer: Peer, address: bigint, into: Buffer, limit: TransferLimit): Promise<void>;
  /** Puts `from` into the peer's memory from `address` on. */
  write(peer: Peer, address: bigint, from: Buffer, limit: TransferLimit): Promise<void>;
  /** Drops what is remembered about a peer. */
  forget(peer: Peer): void;
  /** Fails what is under way and frees everything. */
  close(): void;
}

export function outsideMemory(peer: Peer, address: bigint, byteCount: number): Fault {
  return new Fault(
    'REFUSED',
    `${peer.endpoint}: ${byteCount} bytes at 0x${address.toString(16)} are not in its memory`,
    { details: { code: 1 } },
  );
}
