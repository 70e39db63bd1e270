import { type CancelSignal, type Clock, type Logger, parseAddress, sleep } from '@tsukimi/base';
import { RpcClient } from '@tsukimi/rpc';
import type { TransferEngine } from '@tsukimi/transfer';
import { type DiskProtocol, diskProtocol, ErrorCode, errorName, storageKeyOf } from '@tsukimi/wire';

export interface PeerDisksOptions {
  readonly engine: TransferEngine;
  readonly tenantId: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const clientCountMax = 64;
const retryMs = 20;

/** Reads objects that lie on the disks of other store clients, ours and Mooncake's. */
export class PeerDisks {
  readonly #options: PeerDisksOptions;
  /** Those used longest ago first. */
  readonly #clients = new Map<string, RpcClient<DiskProtocol>>();

  constructor(options: PeerDisksOptions) {
    this.#options = options;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  /** Fills `into` from `offset` of an object of `byteCount` bytes; false, after saying so, when it failed. */
  async read(
    endpoint: string,
    key: string,
    byteCount: number,
    { offset, into }: { readonly offset: number; readonly into: Buffer },
    signal: CancelSignal,
  ): Promise<boolean> {
    const { clock, engine, logger, tenantId } = this.#options;
    const keys = [storageKeyOf(tenantId, key)];
    try {
      for (;;) {
        const client = this.#clientOf(endpoint);
        const sentMs = clock.monotonicMs();
        const sizes = [byteCount];
        const loaded = await client.call('batch_get_offload_object', [keys, sizes], {
          signal,
          timeoutMs: 60_000,
        });
        if ('error' in loaded) {
          // The peer's memory is full of what others read; it is free again in a moment.
          if (loaded.error === ErrorCode.BUFFER_OVERFLOW && !signal.aborted) {
            await sleep(clock, retryMs, signal);
            continue;
          }
          const reason = errorName(loaded.error);
          logger.warn('store.disk_read_refused', { endpoint, reason });
          return false;
        }
        const { batchId, gcTtlMs, pointers, transferEngineAddress } = loaded.ok;
        try {
          const [pointer] = pointers;
          if (pointer === undefined) return false;
          const address = pointer + BigInt(offset);
          await engine.read(transferEngineAddress, address, into, { signal });
          // Longer, and the memory may have held something else already.
          return clock.monotonicMs() - sentMs < gcTtlMs;
        } finally {
          void client.call('release_offload_buffer', [batchId]).catch(() => {});
        }
      }
    } catch (error) {
      if (!signal.aborted) {
        logger.warn('store.disk_read_failed', { endpoint, reason: String(error) });
      }
      return false;
    }
  }

  #clientOf(endpoint: string): RpcClient<DiskProtocol> {
    const known = this.#clients.get(endpoint);
    const client =
      known ??
      new RpcClient({
        address: parseAddress(endpoint, 'transport endpoint of a disk'),
        protocol: diskProtocol,
        clock: this.#options.clock,
      });
    this.#clients.delete(endpoint);
    this.#clients.set(endpoint, client);
    const [oldest] = this.#clients;
    if (this.#clients.size > clientCountMax && oldest !== undefined) {
      this.#clients.delete(oldest[0]);
      oldest[1].close();
    }
    return client;
  }
}
