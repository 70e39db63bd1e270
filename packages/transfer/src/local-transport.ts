import type { MemoryRegistry } from './memory-registry.ts';
import type { Peer } from './peer-directory.ts';
import { outsideMemory, type TransferLimit, type Transport } from './transport.ts';

/** A copy inside the process, for an engine's own memory. */
export class LocalTransport implements Transport {
  readonly kind = 'local';
  readonly #ownName: () => string;
  readonly #registry: MemoryRegistry;

  constructor(ownName: () => string, registry: MemoryRegistry) {
    this.#ownName = ownName;
    this.#registry = registry;
  }

  reaches(peer: Peer): boolean {
    return peer.endpoint === this.#ownName();
  }

  async read(peer: Peer, address: bigint, into: Buffer, { signal }: TransferLimit): Promise<void> {
    signal?.throwIfAborted();
    if (into.length > 0) into.set(this.#resolve(peer, address, into.length));
  }

  async write(peer: Peer, address: bigint, from: Buffer, { signal }: TransferLimit): Promise<void> {
    signal?.throwIfAborted();
    if (from.length > 0) this.#resolve(peer, address, from.length).set(from);
  }

  forget(): void {}

  close(): void {}

  #resolve(peer: Peer, address: bigint, byteCount: number): Buffer {
    const bytes = this.#registry.resolve(address, BigInt(byteCount));
    if (bytes === null) throw outsideMemory(peer, address, byteCount);
    return bytes;
  }
}
