import type { Clock, Logger } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import type { MemoryReplica, ReadOutcome, StoredObject } from './stored-object.ts';

export interface ObjectReaderOptions {
  /** Replicas in its own memory are read first. */
  readonly engine: TransferEngine;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Copies stored objects into the caller's memory, from wherever a replica can be reached. */
export class ObjectReader {
  readonly #options: ObjectReaderOptions;

  constructor(options: ObjectReaderOptions) {
    this.#options = options;
  }

  /** `into` has the object's length. After anything but `read` its content means nothing. */
  async read(object: StoredObject, into: Buffer, signal: AbortSignal): Promise<ReadOutcome> {
    const { clock, engine, logger } = this.#options;
    const isExpired = () => clock.monotonicMs() >= object.leaseUntilMs;
    const replicas = object.replicas.toSorted(
      (left, right) =>
        Number(right.endpoint === engine.name) - Number(left.endpoint === engine.name),
    );
    for (const replica of replicas) {
      if (isExpired()) return 'lease-expired';
      try {
        await this.#copy(replica, into, signal);
        // A lease that ran out while the bytes came does not vouch for them.
        return isExpired() ? 'lease-expired' : 'read';
      } catch (error) {
        if (signal.aborted) return 'failed';
        logger.warn('store.read_failed', { endpoint: replica.endpoint, reason: String(error) });
        engine.invalidate(replica.endpoint);
      }
    }
    return 'failed';
  }

  async #copy(replica: MemoryReplica, into: Buffer, signal: AbortSignal): Promise<void> {
    const { engine } = this.#options;
    const { endpoint, address } = replica;
    const view = await engine.mapped(endpoint, address, into.length, { signal });
    if (view !== null) view.copy(into);
    else await engine.read(endpoint, address, into, { signal });
  }
}
