import { deadline, Fault, orAborted } from '@tsukimi/base';
import { type Etcd3, EtcdLeaseInvalidError, type Lease } from 'etcd3';
import { etcdClientFor } from './etcd-client.ts';
import {
  boardCallMs,
  clusterName,
  type LeaderBoard,
  type LeaderBoardOptions,
  type MasterView,
} from './leader-board.ts';
import { describeMetadataAddress, type EtcdAddress } from './metadata-address.ts';

/**
 * The lead as a key on a lease: `mooncake-store/<cluster>/master_view` holds the leader's address, and the
 * revision that created the key is the version of the view.
 */
export class EtcdLeaderBoard implements LeaderBoard {
  readonly #options: LeaderBoardOptions<EtcdAddress>;
  readonly #key: string;
  readonly #client: Etcd3;
  #held: { readonly lease: Lease; readonly version: number } | null = null;

  constructor(options: LeaderBoardOptions<EtcdAddress>) {
    this.#options = options;
    this.#key = `mooncake-store/${clusterName(options.clusterId)}/master_view`;
    this.#client = etcdClientFor(options.address, options.clock, boardCallMs);
  }

  read(signal?: AbortSignal): Promise<MasterView | null> {
    return this.#call(async () => {
      const { kvs } = await this.#client.get(this.#key).exec();
      const [found] = kvs;
      if (found === undefined) return null;
      return { address: found.value.toString(), version: Number(found.create_revision) };
    }, signal);
  }

  campaign(address: string): Promise<MasterView | null> {
    return this.#call(async () => {
      const lease = this.#client.lease(this.#options.ttlSec, { autoKeepAlive: false });
      const id = await lease.grant();
      const put = this.#client.put(this.#key).value(address).lease(id);
      const taken = await this.#client.if(this.#key, 'Create', '==', 0).then(put).commit();
      if (!taken.succeeded) {
        await lease.revoke();
        return null;
      }
      const version = Number(taken.header.revision);
      this.#held = { lease, version };
      return { address, version };
    });
  }

  renew(): Promise<boolean> {
    return this.#call(async () => {
      const held = this.#held;
      if (held === null) return false;
      try {
        await held.lease.keepaliveOnce();
      } catch (error) {
        if (!(error instanceof EtcdLeaseInvalidError)) throw error;
        return false;
      }
      const { kvs } = await this.#client.get(this.#key).exec();
      return Number(kvs[0]?.create_revision ?? 0) === held.version;
    });
  }

  async resign(): Promise<void> {
    const held = this.#held;
    this.#held = null;
    if (held !== null) await this.#call(() => held.lease.revoke()).catch(() => {});
  }

  close(): void {
    this.#client.close();
  }

  async #call<T>(act: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { clock, address } = this.#options;
    const shown = `the leader's key in ${describeMetadataAddress(address)}`;
    using limit = deadline(clock, 2 * boardCallMs, shown, signal);
    try {
      return await orAborted(act(), limit.signal);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Fault('PEER_UNREACHABLE', `${shown}: ${reason}`, { cause: error });
    }
  }
}
