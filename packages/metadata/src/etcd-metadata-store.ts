import { type Clock, deadline, Fault, type Logger, orAborted } from '@tsukimi/base';
import {
  type Etcd3,
  EtcdAuthenticationFailedError,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  type Lease,
} from 'etcd3';
import { etcdClientFor } from './etcd-client.ts';
import { type JsonValue, parseJson, sortedJson } from './json.ts';
import { KeptValues, keptSeconds } from './kept-values.ts';
import { describeMetadataAddress, type EtcdAddress } from './metadata-address.ts';
import type { ClosableMetadataStore, MetadataCallOptions } from './metadata-store.ts';

export interface EtcdMetadataStoreOptions {
  readonly address: EtcdAddress;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For a whole call. */
  readonly timeoutMs?: number;
}

/** For one attempt at one endpoint, so that a silent one leaves time for the others. */
const attemptMs = 1_000;

/**
 * Mooncake's metadata in etcd v3: the plain keys, JSON with a newline after it. What this process puts
 * hangs on a lease, so that it goes when the process dies; an rpc_meta key that another engine holds is
 * not overwritten.
 */
export class EtcdMetadataStore implements ClosableMetadataStore {
  readonly #options: EtcdMetadataStoreOptions;
  readonly #shown: string;
  readonly #client: Etcd3;
  readonly #kept: KeptValues;
  #lease: Lease | null = null;

  constructor(options: EtcdMetadataStoreOptions) {
    const { address, clock, logger } = options;
    this.#options = options;
    this.#shown = `metadata_server ${describeMetadataAddress(address)}`;
    this.#client = etcdClientFor(address, clock, attemptMs);
    this.#kept = new KeptValues(clock, logger, (values) => this.#refresh(values));
  }

  async get(key: string, options: MetadataCallOptions = {}): Promise<JsonValue | null> {
    const text = await this.#call(options, () => this.#client.get(key).string());
    return text === null ? null : parseJson(text, `metadata of ${key}`);
  }

  async put(key: string, value: JsonValue, options: MetadataCallOptions = {}): Promise<void> {
    const text = `${sortedJson(value)}\n`;
    await this.#call(options, () => this.#putOnLease(key, text));
    this.#kept.keep(key, text);
  }

  async remove(key: string, options: MetadataCallOptions = {}): Promise<boolean> {
    this.#kept.drop(key);
    const { deleted } = await this.#call(options, () => this.#client.delete().key(key).exec());
    return Number(deleted) > 0;
  }

  async close(): Promise<void> {
    this.#kept.stop();
    const lease = this.#lease;
    this.#lease = null;
    // Without it the keys would outlive a process that leaves in order.
    if (lease !== null) await this.#call({}, () => lease.revoke()).catch(() => {});
    this.#client.close();
  }

  /** A lease that etcd has forgotten is replaced once; more often means that etcd is not well. */
  async #putOnLease(key: string, text: string): Promise<void> {
    try {
      await this.#putWith(await this.#ownLease(), key, text);
    } catch (error) {
      if (!(error instanceof EtcdLeaseInvalidError)) throw error;
      this.#lease = null;
      await this.#putWith(await this.#ownLease(), key, text);
    }
  }

  async #putWith(lease: Lease, key: string, text: string): Promise<void> {
    if (!key.includes('rpc_meta')) {
      await lease.put(key).value(text).exec();
      return;
    }
    const id = await lease.grant();
    const put = this.#client.put(key).value(text).lease(id);
    const absent = await this.#client.if(key, 'Version', '==', 0).then(put).commit();
    if (absent.succeeded) return;
    const same = await this.#client.if(key, 'Value', '==', text).then(put).commit();
    if (!same.succeeded) throw new Fault('ALREADY_EXISTS', `metadata: another engine holds ${key}`);
  }

  async #ownLease(): Promise<Lease> {
    this.#lease ??= this.#client.lease(keptSeconds, { autoKeepAlive: false });
    const lease = this.#lease;
    try {
      await lease.grant();
    } catch (error) {
      if (this.#lease === lease) this.#lease = null;
      throw error;
    }
    return lease;
  }

  async #refresh(values: ReadonlyMap<string, string>): Promise<void> {
    await this.#call({}, async () => {
      try {
        await (await this.#ownLease()).keepaliveOnce();
      } catch (error) {
        if (!(error instanceof EtcdLeaseInvalidError)) throw error;
        this.#lease = null;
        await this.#putAgain(values);
      }
    });
  }

  /** The lease is gone, and the keys with it; those that others have put since are theirs. */
  async #putAgain(values: ReadonlyMap<string, string>): Promise<void> {
    const id = await (await this.#ownLease()).grant();
    for (const [key, text] of [...values]) {
      if (!this.#kept.has(key)) continue;
      const put = this.#client.put(key).value(text).lease(id);
      const { succeeded } = await this.#client.if(key, 'Version', '==', 0).then(put).commit();
      if (!succeeded) this.#kept.drop(key);
    }
  }

  async #call<T>({ signal }: MetadataCallOptions, act: () => Promise<T>): Promise<T> {
    const { clock, timeoutMs = 3_000 } = this.#options;
    using limit = deadline(clock, timeoutMs, this.#shown, signal);
    try {
      return await orAborted(act(), limit.signal);
    } catch (error) {
      if (error instanceof Fault) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      if (
        error instanceof EtcdAuthenticationFailedError ||
        error instanceof EtcdPermissionDeniedError
      ) {
        throw new Fault('REFUSED', `${this.#shown} refused: ${reason}`, { cause: error });
      }
      throw new Fault('PEER_UNREACHABLE', `${this.#shown} does not answer: ${reason}`, {
        cause: error,
      });
    }
  }
}
