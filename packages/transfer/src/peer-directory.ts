import { type Address, Fault, orAborted } from '@tsukimi/base';
import {
  type MetadataStore,
  parseRpcMeta,
  parseSegmentDescriptor,
  rpcMetaKey,
  type SegmentDescriptor,
  segmentKey,
} from '@tsukimi/metadata';

/** An engine as its metadata shows it. */
export interface Peer {
  readonly endpoint: string;
  readonly descriptor: SegmentDescriptor;
  readonly dataAddress: Address;
}

const peerCountMax = 1_024;

/** Descriptors of peers, asked for once and kept until they turn out to be wrong. */
export class PeerDirectory {
  readonly #metadata: MetadataStore;
  readonly #clusterId: string;
  readonly #peers = new Map<string, Promise<Peer>>();

  constructor(metadata: MetadataStore, clusterId: string) {
    this.#metadata = metadata;
    this.#clusterId = clusterId;
  }

  /** Rejects with `PEER_UNREACHABLE` when there is no usable descriptor, or with the metadata's fault. */
  async find(endpoint: string, signal: AbortSignal): Promise<Peer> {
    let found = this.#peers.get(endpoint);
    if (found === undefined) {
      const [oldest] = this.#peers.keys();
      if (this.#peers.size >= peerCountMax && oldest !== undefined) this.#peers.delete(oldest);
      // Shared by all who ask meanwhile, so no single caller's signal may end it.
      found = this.#ask(endpoint);
      this.#peers.set(endpoint, found);
      const forget = () => this.#forgetIf(endpoint, found);
      found.catch(forget);
    }
    return await orAborted(found, signal);
  }

  /** What the metadata says now, after `stale` has failed. */
  async findAgain(stale: Peer, signal: AbortSignal): Promise<Peer> {
    const known = this.#peers.get(stale.endpoint);
    const isStale = known !== undefined && (await orAborted(known, signal)) === stale;
    if (isStale) this.#forgetIf(stale.endpoint, known);
    return await this.find(stale.endpoint, signal);
  }

  /** The descriptor that is known, if it has arrived; forgets it. */
  async forget(endpoint: string): Promise<Peer | null> {
    const known = this.#peers.get(endpoint);
    this.#peers.delete(endpoint);
    return (await known?.catch(() => null)) ?? null;
  }

  #forgetIf(endpoint: string, known: Promise<Peer> | undefined): void {
    if (this.#peers.get(endpoint) === known) this.#peers.delete(endpoint);
  }

  async #ask(endpoint: string): Promise<Peer> {
    const value = await this.#metadata.get(segmentKey(endpoint, this.#clusterId));
    if (value === null) {
      throw new Fault('PEER_UNREACHABLE', `${endpoint}: the metadata server does not know it`);
    }
    const descriptor = parseSegmentDescriptor(value, `descriptor of ${endpoint}`);
    if (!descriptor.protocols.includes('tcp')) {
      throw new Fault(
        'UNSUPPORTED',
        `${endpoint}: offers ${descriptor.protocols.join(', ')} but only tcp can be used`,
      );
    }
    const host = descriptor.tcpDataHost ?? (await this.#hostOf(endpoint));
    return { endpoint, descriptor, dataAddress: { host, port: descriptor.tcpDataPort } };
  }

  async #hostOf(endpoint: string): Promise<string> {
    const value = await this.#metadata.get(rpcMetaKey(endpoint, this.#clusterId));
    if (value === null) {
      throw new Fault('PEER_UNREACHABLE', `${endpoint}: the metadata server has no address of it`);
    }
    return parseRpcMeta(value, `rpc_meta of ${endpoint}`).host;
  }
}
