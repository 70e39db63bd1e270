import { type CancelSignal, type Clock, deadline, Fault } from '@tsukimi/base';
import { Outages } from './core/outages.ts';
import type { Peer, PeerDirectory } from './peer-directory.ts';
import { outsideMemory, type TransferLimit, type Transport } from './transport.ts';

export interface MoverOptions {
  readonly clock: Clock;
  readonly peers: PeerDirectory;
  /** In the order in which they are preferred. */
  readonly transports: readonly Transport[];
  /** This engine, where `endpoint` is its name. */
  readonly own: (endpoint: string) => Peer | null;
  /** A transfer may take so long, and as long again for each GiB. */
  readonly baseLimitMs: number;
}

/** Finds the peer and the way for each transfer, and tries once more where what is known of a peer was behind. */
export class Mover {
  readonly #options: MoverOptions;
  readonly #outages = new Outages();
  #isStopped = false;

  constructor(options: MoverOptions) {
    this.#options = options;
  }

  stop(): void {
    this.#isStopped = true;
  }

  transfer(
    kind: 'read' | 'write',
    endpoint: string,
    address: bigint,
    bytes: Buffer,
    signal: CancelSignal | undefined,
  ): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (this.#isStopped) return Promise.reject(stopping());
    if (bytes.length === 0) return Promise.resolve();
    const { clock, own, peers } = this.#options;
    const startMs = clock.monotonicMs();
    const refusal = this.#outages.refusal(endpoint, startMs);
    if (refusal !== null) return Promise.reject(refusal);
    const limit = { signal, endsAtMs: startMs + this.#limitMs(bytes.length) };
    const peer = own(endpoint) ?? peers.known(endpoint);
    if (peer === null || !holds(peer, address, bytes.length)) {
      return this.#transferToUnknown(kind, endpoint, address, bytes, limit, startMs);
    }
    return this.#move(kind, peer, address, bytes, limit, startMs);
  }

  /** The peer as one whose memory holds these bytes; a descriptor that is behind is asked for again. */
  async holder(
    endpoint: string,
    address: bigint,
    byteCount: number,
    signal: CancelSignal,
  ): Promise<Peer> {
    const { own, peers } = this.#options;
    if (this.#isStopped) throw stopping();
    const self = own(endpoint);
    if (self !== null) return self;
    const known = await peers.find(endpoint, signal);
    if (holds(known, address, byteCount)) return known;
    const current = await peers.findAgain(known, signal);
    if (!holds(current, address, byteCount)) throw outsideMemory(current, address, byteCount);
    return current;
  }

  /** The peer, if it is known without asking that it holds these bytes. */
  knownHolder(endpoint: string, address: bigint, byteCount: number): Peer | null {
    const peer = this.#options.peers.known(endpoint);
    return peer !== null && holds(peer, address, byteCount) ? peer : null;
  }

  checkInvariants(): void {
    this.#outages.checkInvariants();
  }

  async #transferToUnknown(
    kind: 'read' | 'write',
    endpoint: string,
    address: bigint,
    bytes: Buffer,
    limit: TransferLimit,
    startMs: number,
  ): Promise<void> {
    using finding = this.#deadline(`finding ${endpoint}`, limit);
    const peer = await this.holder(endpoint, address, bytes.length, finding.signal);
    await this.#move(kind, peer, address, bytes, limit, startMs);
  }

  async #move(
    kind: 'read' | 'write',
    peer: Peer,
    address: bigint,
    bytes: Buffer,
    limit: TransferLimit,
    startMs: number,
  ): Promise<void> {
    try {
      try {
        await this.#through(peer, address, bytes.length)[kind](peer, address, bytes, limit);
      } catch (error) {
        await this.#moveAgain(error, kind, peer, address, bytes, limit);
      }
      this.#outages.worked(peer.endpoint);
    } catch (error) {
      if (
        Fault.has(error, 'PEER_UNREACHABLE', 'DEADLINE_PASSED') &&
        limit.signal?.aborted !== true
      ) {
        this.#outages.failed(peer.endpoint, startMs, this.#options.clock.monotonicMs());
      }
      throw error;
    }
  }

  /** Once more, when the peer turns out to be elsewhere by now. */
  async #moveAgain(
    error: unknown,
    kind: 'read' | 'write',
    peer: Peer,
    address: bigint,
    bytes: Buffer,
    limit: TransferLimit,
  ): Promise<void> {
    const { own, peers } = this.#options;
    if (!Fault.has(error, 'PEER_UNREACHABLE', 'REFUSED') || own(peer.endpoint) !== null)
      throw error;
    using finding = this.#deadline(`finding ${peer.endpoint} again`, limit);
    const current = await peers.findAgain(peer, finding.signal);
    if (!holds(current, address, bytes.length) || isSamePlace(peer, current)) throw error;
    await this.#through(current, address, bytes.length)[kind](current, address, bytes, limit);
  }

  #through(peer: Peer, address: bigint, byteCount: number): Transport {
    for (const transport of this.#options.transports) {
      if (transport.reaches(peer, address, byteCount)) return transport;
    }
    throw new Fault('PEER_UNREACHABLE', `${peer.endpoint}: listens on no data port`);
  }

  #limitMs(byteCount: number): number {
    return Math.ceil(this.#options.baseLimitMs * (1 + byteCount / 2 ** 30));
  }

  #deadline(what: string, { signal, endsAtMs }: TransferLimit) {
    const { clock } = this.#options;
    return deadline(clock, Math.max(0, endsAtMs - clock.monotonicMs()), what, signal);
  }
}

function stopping(): Fault {
  return new Fault('CANCELLED', 'the transfer engine is stopping');
}

function holds({ descriptor }: Peer, address: bigint, byteCount: number): boolean {
  const end = address + BigInt(byteCount);
  for (const buffer of descriptor.buffers) {
    if (address >= buffer.address && end <= buffer.address + BigInt(buffer.byteCount)) return true;
  }
  return false;
}

/** Whether trying the second after the first would be the same again. */
function isSamePlace(first: Peer, second: Peer): boolean {
  return (
    first.dataAddress.host === second.dataAddress.host &&
    first.dataAddress.port === second.dataAddress.port
  );
}
