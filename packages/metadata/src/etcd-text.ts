import { Fault } from '@tsukimi/base';
import type { Etcd3 } from 'etcd3';
import { etcdClientFor } from './etcd-client.ts';
import { describeMetadataAddress } from './metadata-address.ts';
import type { SharedText, SharedTextOptions } from './shared-text.ts';

const callMs = 2_000;

/** A text under a key of etcd. */
export class EtcdText implements SharedText {
  readonly #options: SharedTextOptions;
  readonly #client: Etcd3;

  constructor(options: SharedTextOptions) {
    this.#options = options;
    this.#client = etcdClientFor(options.address, options.clock, callMs);
  }

  read(): Promise<string | null> {
    return this.#call(() => this.#client.get(this.#options.key).string());
  }

  async write(text: string): Promise<void> {
    await this.#call(() => this.#client.put(this.#options.key).value(text).exec());
  }

  close(): void {
    this.#client.close();
  }

  async #call<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      const { address, key } = this.#options;
      const where = describeMetadataAddress(address);
      const reason = (error as Error).message;
      throw new Fault('PEER_UNREACHABLE', `${where} has no answer for ${key}: ${reason}`, {
        cause: error,
      });
    }
  }
}
