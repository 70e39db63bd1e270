import { closeSync } from 'node:fs';
import { Fault } from '@tsukimi/base';
import type { Peer } from './peer-directory.ts';
import { openSegmentFile, type SegmentFile } from './segment-file.ts';
import { isFileLocked, mapFile } from './system-calls.ts';
import { outsideMemory, type TransferLimit, type Transport } from './transport.ts';

interface PeerSegment {
  readonly file: SegmentFile;
  readonly view: Buffer;
}

const segmentCountMax = 1_024;

/** Copies between processes of one host, through the file below the peer's segment, mapped here too. */
export class SharedMemoryTransport implements Transport {
  readonly kind = 'shm';
  readonly #hostId: string;
  /** By inode: a restarted peer's segment is another one. */
  readonly #segments = new Map<number, PeerSegment>();

  constructor(ownHostId: string) {
    this.#hostId = ownHostId;
  }

  reaches(peer: Peer, address: bigint, byteCount: number): boolean {
    return this.view(peer, address, byteCount) !== null;
  }

  async read(peer: Peer, address: bigint, into: Buffer, { signal }: TransferLimit): Promise<void> {
    signal?.throwIfAborted();
    if (into.length > 0) into.set(this.#resolve(peer, address, into.length));
  }

  async write(peer: Peer, address: bigint, from: Buffer, { signal }: TransferLimit): Promise<void> {
    signal?.throwIfAborted();
    if (from.length > 0) this.#resolve(peer, address, from.length).set(from);
  }

  /** The peer's bytes as they are now and will be; null when they cannot be seen from here. */
  view(peer: Peer, address: bigint, byteCount: number): Buffer | null {
    const shared = peer.descriptor.sharedMemory;
    if (shared === null || shared.host !== this.#hostId) return null;
    for (const buffer of shared.buffers) {
      const start = address - buffer.address;
      if (start < 0n || start + BigInt(byteCount) > BigInt(buffer.byteCount)) continue;
      const segment = this.#segment(buffer.path, buffer.inode, buffer.byteCount);
      return segment?.view.subarray(Number(start), Number(start) + byteCount) ?? null;
    }
    return null;
  }

  forget(peer: Peer): void {
    for (const { inode } of peer.descriptor.sharedMemory?.buffers ?? []) this.#drop(inode);
  }

  close(): void {
    for (const inode of this.#segments.keys()) this.#drop(inode);
  }

  #resolve(peer: Peer, address: bigint, byteCount: number): Buffer {
    const view = this.view(peer, address, byteCount);
    if (view !== null) return view;
    const size = BigInt(byteCount);
    const isIn = (buffer: { address: bigint; byteCount: number }) =>
      address >= buffer.address && address + size <= buffer.address + BigInt(buffer.byteCount);
    if (!peer.descriptor.buffers.some(isIn)) throw outsideMemory(peer, address, byteCount);
    throw new Fault('PEER_UNREACHABLE', `${peer.endpoint}: its shared memory is gone`);
  }

  #segment(path: string, inode: number, byteCount: number): PeerSegment | null {
    const known = this.#segments.get(inode);
    if (known !== undefined && known.view.length >= byteCount && known.file.path === path) {
      // The bytes outlive their owner in our mapping; only its lock tells that it is still there.
      if (isFileLocked(known.file.descriptor)) return known;
      this.#drop(inode);
      return null;
    }
    if (this.#segments.size >= segmentCountMax) return null;
    const file = openSegmentFile(path, inode, byteCount);
    if (file === null) return null;
    try {
      const segment = { file, view: mapFile(file.descriptor, byteCount).view };
      this.#drop(inode);
      this.#segments.set(inode, segment);
      return segment;
    } catch {
      closeSync(file.descriptor);
      return null;
    }
  }

  #drop(inode: number): void {
    const segment = this.#segments.get(inode);
    if (segment === undefined) return;
    this.#segments.delete(inode);
    closeSync(segment.file.descriptor);
  }
}
