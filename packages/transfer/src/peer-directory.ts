import {
  type Address,
  type CancelSignal,
  type Clock,
  deadline,
  Fault,
  orAborted,
} from '@tsukimi/base';
import type { SegmentDescriptor } from '@tsukimi/metadata';
import type { PeerSource } from './peer-source.ts';

/** An engine as its metadata shows it. */
export interface Peer {
  readonly endpoint: string;
  readonly descriptor: SegmentDescriptor;
  readonly dataAddress: Address;
}

const peerCountMax = 1_024;
const askLimitMs = 5_000;

/** Descriptors of peers, asked for once and kept until they turn out to be wrong. */
export class PeerDirectory {
  readonly #source: PeerSource;
  readonly #clock: Clock;
  readonly #asked = new Map<string, Promise<Peer>>();
  /** Those of `#asked` that have arrived. */
  readonly #known = new Map<string, Peer>();

  constructor(source: PeerSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  /** The peer, if it is known without asking. */
  known(endpoint: string): Peer | null {
    return this.#known.get(endpoint) ?? null;
  }

  /** Rejects with `PEER_UNREACHABLE` when there is no usable descriptor, or with the source's fault. */
  async find(endpoint: string, signal: CancelSignal): Promise<Peer> {
    let asked = this.#asked.get(endpoint);
    if (asked === undefined) {
      const [oldest] = this.#asked.keys();
      if (this.#asked.size >= peerCountMax && oldest !== undefined) this.#drop(oldest);
      // Shared by all who ask meanwhile, so no single caller's signal may end it.
      const asking = this.#ask(endpoint);
      asked = asking;
      this.#asked.set(endpoint, asking);
      asking.then(
        (peer) => {
          if (this.#asked.get(endpoint) === asking) this.#known.set(endpoint, peer);
        },
        () => {
          if (this.#asked.get(endpoint) === asking) this.#drop(endpoint);
        },
      );
    }
    return await orAborted(asked, signal);
  }

  /** What the source says now, after `stale` has failed. */
  async findAgain(stale: Peer, signal: CancelSignal): Promise<Peer> {
    if (this.#known.get(stale.endpoint) === stale) this.#drop(stale.endpoint);
    return await this.find(stale.endpoint, signal);
  }

  /** The peer that is known, if there is one; forgets it. */
  forget(endpoint: string): Peer | null {
    const peer = this.known(endpoint);
    this.#drop(endpoint);
    return peer;
  }

  #drop(endpoint: string): void {
    this.#asked.delete(endpoint);
    this.#known.delete(endpoint);
  }

  async #ask(endpoint: string): Promise<Peer> {
    using limit = deadline(this.#clock, askLimitMs, `looking ${endpoint} up`);
    const descriptor = await this.#source.describe(endpoint, limit.signal);
    if (!descriptor.protocols.includes('tcp')) {
      throw new Fault(
        'UNSUPPORTED',
        `${endpoint}: offers ${descriptor.protocols.join(', ')} but only tcp can be used`,
      );
    }
    const host =
      descriptor.tcpDataHost ?? (await this.#source.handshakeAddress(endpoint, limit.signal)).host;
    return { endpoint, descriptor, dataAddress: { host, port: descriptor.tcpDataPort } };
  }
}
