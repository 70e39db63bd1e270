import { type Clock, formatAddress } from '@tsukimi/base';
import type { DataRequest } from './data-protocol.ts';
import { LanePool } from './lane-pool.ts';
import type { Peer } from './peer-directory.ts';
import { transferOver } from './tcp-transfer.ts';
import type { TransferLimit, Transport } from './transport.ts';

export interface TcpTransportOptions {
  readonly clock: Clock;
  readonly connectTimeoutMs?: number;
  readonly laneCountMax?: number;
}

/** Takes an answer of 64 KiB in one read. */
const stagingByteCount = 2 ** 16 + 2 ** 10;

/** Reads and writes over Mooncake's data plane, with a few connections kept open for each peer. */
export class TcpTransport implements Transport {
  readonly kind = 'tcp';
  readonly #options: TcpTransportOptions;
  readonly #staging = Buffer.allocUnsafeSlow(stagingByteCount);
  /** By address of the data port. */
  readonly #pools = new Map<string, LanePool>();
  /** Those of `#pools`, found without making a name. */
  readonly #poolOf = new WeakMap<Peer, LanePool>();

  constructor(options: TcpTransportOptions) {
    this.#options = options;
  }

  reaches(peer: Peer): boolean {
    return peer.descriptor.tcpDataPort !== 0;
  }

  read(peer: Peer, address: bigint, into: Buffer, limit: TransferLimit): Promise<void> {
    return this.#transfer(peer, 'read', address, into, limit);
  }

  write(peer: Peer, address: bigint, from: Buffer, limit: TransferLimit): Promise<void> {
    return this.#transfer(peer, 'write', address, from, limit);
  }

  forget(peer: Peer): void {
    const name = formatAddress(peer.dataAddress);
    this.#pools.get(name)?.retire();
    this.#pools.delete(name);
    this.#poolOf.delete(peer);
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  #transfer(
    peer: Peer,
    kind: DataRequest['kind'],
    address: bigint,
    bytes: Buffer,
    limit: TransferLimit,
  ): Promise<void> {
    if (limit.signal?.aborted) return Promise.reject(limit.signal.reason as Error);
    // Mooncake has no empty requests: a target would reject them.
    if (bytes.length === 0) return Promise.resolve();
    const version = peer.descriptor.tcpProtoVersion >= 2 ? 2 : 1;
    const request = { kind, version, address, byteCount: BigInt(bytes.length) } as const;
    return transferOver(this.#pool(peer), request, bytes, limit, this.#options.clock);
  }

  #pool(peer: Peer): LanePool {
    const known = this.#poolOf.get(peer);
    if (known !== undefined) return known;
    const name = formatAddress(peer.dataAddress);
    let pool = this.#pools.get(name);
    if (pool === undefined) {
      for (const [other, { isUnused }] of this.#pools) if (isUnused) this.#pools.delete(other);
      const { clock, connectTimeoutMs = 1_000, laneCountMax = 4 } = this.#options;
      const { ownTarget } = peer.descriptor;
      pool = new LanePool({
        addresses: [peer.dataAddress, ...(ownTarget?.addresses ?? [])],
        laneCountMax,
        depth: ownTarget?.requestsAhead ?? 1,
        clock,
        connectTimeoutMs,
        staging: this.#staging,
      });
      this.#pools.set(name, pool);
    }
    this.#poolOf.set(peer, pool);
    return pool;
  }
}
