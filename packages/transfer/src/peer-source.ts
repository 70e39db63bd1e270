import { type Address, type Clock, Fault, parseAddress, sleep } from '@tsukimi/base';
import {
  type JsonValue,
  type MetadataStore,
  parseRpcMeta,
  parseSegmentDescriptor,
  rpcMetaKey,
  type SegmentDescriptor,
  segmentKey,
} from '@tsukimi/metadata';
import { handshakeTypes } from './handshake-protocol.ts';

/** Where what is known about peers comes from. Both reject with `PEER_UNREACHABLE` for nobody. */
export interface PeerSource {
  describe(endpoint: string, signal: AbortSignal): Promise<SegmentDescriptor>;
  /** Where its handshake daemon listens. */
  handshakeAddress(endpoint: string, signal: AbortSignal): Promise<Address>;
}

/** How long the restart of a metadata server may take without a transfer failing for it. */
const patienceMs = 3_000;
const retryPauseMs = 100;

/** Peers whose descriptors a metadata server holds. */
export class MetadataPeerSource implements PeerSource {
  readonly #metadata: MetadataStore;
  readonly #clusterId: string;
  readonly #clock: Clock;

  constructor(metadata: MetadataStore, clusterId: string, clock: Clock) {
    this.#metadata = metadata;
    this.#clusterId = clusterId;
    this.#clock = clock;
  }

  async describe(endpoint: string, signal: AbortSignal): Promise<SegmentDescriptor> {
    const value = await this.#get(segmentKey(endpoint, this.#clusterId), signal);
    if (value === null) {
      throw new Fault('PEER_UNREACHABLE', `${endpoint}: the metadata server does not know it`);
    }
    return parseSegmentDescriptor(value, `descriptor of ${endpoint}`);
  }

  async handshakeAddress(endpoint: string, signal: AbortSignal): Promise<Address> {
    const value = await this.#get(rpcMetaKey(endpoint, this.#clusterId), signal);
    if (value === null) {
      throw new Fault('PEER_UNREACHABLE', `${endpoint}: the metadata server has no address of it`);
    }
    const { host, rpcPort } = parseRpcMeta(value, `rpc_meta of ${endpoint}`);
    return { host, port: rpcPort };
  }

  /** Waits for a server that is away for a moment. */
  async #get(key: string, signal: AbortSignal): Promise<JsonValue | null> {
    const untilMs = this.#clock.monotonicMs() + patienceMs;
    for (;;) {
      try {
        return await this.#metadata.get(key, { signal });
      } catch (error) {
        const mayRetry = Fault.has(error, 'PEER_UNREACHABLE') && !signal.aborted;
        if (!mayRetry || this.#clock.monotonicMs() + retryPauseMs > untilMs) throw error;
        await sleep(this.#clock, retryPauseMs, signal);
      }
    }
  }
}

/** Asks one peer something; see `shakeHands`. */
export type AskPeer = (
  address: Address,
  type: typeof handshakeTypes.metadata,
  value: JsonValue,
  signal: AbortSignal,
) => Promise<JsonValue>;

/** Where Mooncake looks for a handshake daemon whose name says no port. */
const handshakePortDefault = 12_001;

/** Peers whose name is where their handshake daemon listens, which describes them (`P2PHANDSHAKE`). */
export class HandshakePeerSource implements PeerSource {
  readonly #ask: AskPeer;
  readonly #describeSelf: () => JsonValue;

  constructor(ask: AskPeer, describeSelf: () => JsonValue) {
    this.#ask = ask;
    this.#describeSelf = describeSelf;
  }

  async describe(endpoint: string, signal: AbortSignal): Promise<SegmentDescriptor> {
    const address = await this.handshakeAddress(endpoint);
    const value = await this.#ask(address, handshakeTypes.metadata, this.#describeSelf(), signal);
    if (value === null) {
      throw new Fault(
        'PEER_UNREACHABLE',
        `${endpoint}: has no descriptor to give; is its metadata_server P2PHANDSHAKE too?`,
      );
    }
    return parseSegmentDescriptor(value, `descriptor of ${endpoint}`);
  }

  async handshakeAddress(endpoint: string): Promise<Address> {
    const bare = endpoint.replace(/^\/+/, '');
    const hasPort = /^[^:]+:\d+$|\]:\d+$/.test(bare);
    if (hasPort) return parseAddress(bare, 'segment name');
    return { host: bare.replace(/^\[(.*)\]$/, '$1'), port: handshakePortDefault };
  }
}
