import type { CancelSignal, Logger } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import { storageKeyOf } from '@tsukimi/wire';
import type { BufferPool } from '../buffer-pool.ts';
import type { MasterLink } from '../master-link.ts';
import { type DiskTask, diskCallLimit } from './disk-calls.ts';
import type { DiskStore } from './disk-store.ts';

export interface PromotionOptions {
  readonly disk: DiskStore;
  readonly link: MasterLink;
  readonly engine: TransferEngine;
  /** Memory for objects on their way to segments of other hosts. */
  readonly staging: BufferPool;
  readonly logger: Logger;
}

/** Copies objects from this client's disk back into memory, as the master asks. */
export class Promotion {
  readonly #options: PromotionOptions;
  promotedCount = 0;

  constructor(options: PromotionOptions) {
    this.#options = options;
  }

  async perform(tasks: readonly DiskTask[], signal: CancelSignal): Promise<void> {
    const { link } = this.#options;
    for (const task of tasks) {
      const object = [link.clientId, task.key, task.tenantId] as const;
      if (task.size > 0 && !signal.aborted && (await this.#promote(task, signal))) {
        const done = await link.ask('NotifyPromotionSuccess', [...object], diskCallLimit);
        if ('ok' in done) {
          this.promotedCount += 1;
          continue;
        }
      }
      // Otherwise the room in memory would be set aside until the master's patience ends.
      await link.ask('NotifyPromotionFailure', [...object], diskCallLimit);
    }
  }

  async #promote({ tenantId, key, size }: DiskTask, signal: CancelSignal): Promise<boolean> {
    const { disk, engine, link, logger, staging } = this.#options;
    const args = [link.clientId, key, tenantId, size, []] as const;
    const start = await link.ask('PromotionAllocStart', [...args], diskCallLimit);
    if ('error' in start) return false;
    const { location } = start.ok.memoryDescriptor;
    if (location.kind !== 'memory' || location.buffer.size !== size) return false;
    const { transportEndpoint: endpoint, bufferAddress: address } = location.buffer;
    try {
      const storageKey = storageKeyOf(tenantId, key);
      const view = await engine.mapped(endpoint, address, size, { signal });
      if (view !== null) return (await disk.read(storageKey, view)) === 'read';
      const staged = await staging.take(size, signal);
      try {
        if ((await disk.read(storageKey, staged.bytes)) !== 'read') return false;
        await engine.write(endpoint, address, staged.bytes, { signal });
        return true;
      } finally {
        staged.release();
      }
    } catch (error) {
      logger.warn('disk.promotion_failed', { endpoint, reason: String(error) });
      return false;
    }
  }
}
