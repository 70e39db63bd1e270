import type { CancelSignal, Clock, Logger } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import type { EndpointHealth } from './core/endpoint-health.ts';
import type { MemoryReplica } from './stored-object.ts';

export interface ReplicaWriterOptions {
  readonly engine: TransferEngine;
  readonly health: EndpointHealth;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Brings bytes to the places that the master has given for them. */
export class ReplicaWriter {
  readonly #options: ReplicaWriterOptions;

  constructor(options: ReplicaWriterOptions) {
    this.#options = options;
  }

  /**
   * Whether all replicas took the parts, one after the other from `offset` on. All are tried, so that it
   * is known who takes bytes and who does not.
   */
  async send(
    replicas: readonly MemoryReplica[],
    offset: number,
    parts: readonly Buffer[],
    signal: CancelSignal,
  ): Promise<boolean> {
    const sent = await Promise.all(
      replicas.map((replica) => this.#sendTo(replica, offset, parts, signal)),
    );
    return sent.every((isSent) => isSent);
  }

  async #sendTo(
    { endpoint, address }: MemoryReplica,
    offset: number,
    parts: readonly Buffer[],
    signal: CancelSignal,
  ): Promise<boolean> {
    const { clock, engine, health, logger } = this.#options;
    try {
      let at = address + BigInt(offset);
      for (const part of parts) {
        await engine.write(endpoint, at, part, { signal });
        at += BigInt(part.length);
      }
      health.worked(endpoint);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      logger.warn('store.write_failed', { endpoint, reason: String(error) });
      health.failed(endpoint, clock.monotonicMs());
      engine.invalidate(endpoint);
      return false;
    }
  }
}
