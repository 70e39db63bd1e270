import { type Clock, Fault, formatAddress } from '@tsukimi/base';
import type { DataRequest } from './data-protocol.ts';
import { LanePool } from './lane-pool.ts';
import type { Peer } from './peer-directory.ts';
import type { TcpLane } from './tcp-lane.ts';
import type { Transport } from './transport.ts';

export interface TcpTransportOptions {
  readonly clock: Clock;
  readonly connectTimeoutMs?: number;
  readonly laneCountMax?: number;
}

/** Reads and writes over Mooncake's data plane, with a few connections kept open for each peer. */
export class TcpTransport implements Transport {
  readonly kind = 'tcp';
  readonly #options: TcpTransportOptions;
  readonly #receiveBuffer = Buffer.allocUnsafeSlow(2 ** 20);
  /** By address of the data port. */
  readonly #pools = new Map<string, LanePool>();

  constructor(options: TcpTransportOptions) {
    this.#options = options;
  }

  reaches(peer: Peer): boolean {
    return peer.descriptor.tcpDataPort !== 0;
  }

  read(peer: Peer, address: bigint, into: Buffer, signal: AbortSignal): Promise<void> {
    return this.#transfer(peer, 'read', address, into, signal);
  }

  write(peer: Peer, address: bigint, from: Buffer, signal: AbortSignal): Promise<void> {
    return this.#transfer(peer, 'write', address, from, signal);
  }

  forget(peer: Peer): void {
    const name = formatAddress(peer.dataAddress);
    this.#pools.get(name)?.retire();
    this.#pools.delete(name);
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  async #transfer(
    peer: Peer,
    kind: DataRequest['kind'],
    address: bigint,
    bytes: Buffer,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted();
    // Mooncake has no empty requests: a target would reject them.
    if (bytes.length === 0) return;
    const request: DataRequest = {
      kind,
      version: peer.descriptor.tcpProtoVersion >= 2 ? 2 : 1,
      address,
      byteCount: BigInt(bytes.length),
    };
    const pool = this.#pool(peer);
    let wasUsed = false;
    const use = (lane: TcpLane) => {
      wasUsed = lane.isUsed;
      return lane.transfer(request, bytes, signal);
    };
    try {
      await pool.lend(signal, use);
    } catch (error) {
      // A kept connection may have been closed by a peer that is well; a new one tells.
      if (!wasUsed || signal.aborted || !Fault.has(error, 'PEER_UNREACHABLE')) throw error;
      await pool.lend(signal, use, true);
    }
  }

  #pool(peer: Peer): LanePool {
    const name = formatAddress(peer.dataAddress);
    let pool = this.#pools.get(name);
    if (pool === undefined) {
      for (const [other, { isUnused }] of this.#pools) if (isUnused) this.#pools.delete(other);
      const { clock, connectTimeoutMs = 1_000, laneCountMax = 4 } = this.#options;
      pool = new LanePool(
        { address: peer.dataAddress, clock, connectTimeoutMs, receiveBuffer: this.#receiveBuffer },
        laneCountMax,
      );
      this.#pools.set(name, pool);
    }
    return pool;
  }
}
