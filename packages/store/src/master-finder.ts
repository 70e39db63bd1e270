import {
  type Address,
  type Clock,
  Fault,
  type Logger,
  parseAddress,
  type Random,
} from '@tsukimi/base';
import { type LeaderBoard, openLeaderBoard } from '@tsukimi/metadata';
import { describeMasterAddress, type MasterAddress } from './master-address.ts';

/** Says where the master is just now; asks the board, where there is one, at each call. */
export class MasterFinder {
  readonly #address: MasterAddress;
  readonly #ports: { readonly clock: Clock; readonly random: Random; readonly logger: Logger };
  #board: Promise<LeaderBoard> | null = null;

  constructor(
    address: MasterAddress,
    ports: { readonly clock: Clock; readonly random: Random; readonly logger: Logger },
  ) {
    this.#address = address;
    this.#ports = ports;
  }

  /** Rejects with `PEER_UNREACHABLE` while nobody leads, or nobody says who. */
  async find(signal: AbortSignal): Promise<Address> {
    if (!('board' in this.#address)) return this.#address;
    const { board: address, clusterId } = this.#address;
    const { clock, random, logger } = this.#ports;
    // We never campaign, so the time to live means nothing.
    this.#board ??= openLeaderBoard({ address, clusterId, ttlSec: 1, clock, random, logger });
    const view = await (await this.#board).read(signal);
    if (view !== null) return parseAddress(view.address, "the leader's address");
    const where = describeMasterAddress(this.#address);
    throw new Fault('PEER_UNREACHABLE', `no master leads the cluster ${clusterId} in ${where}`);
  }

  close(): void {
    void this.#board?.then((board) => board.close());
  }
}
