import { type CancelSignal, type Clock, deadline, type Logger, sleep } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import { parseStorageKey, type ReplicaDescriptor, type Uuid } from '@tsukimi/wire';
import type { BufferPool } from '../buffer-pool.ts';
import type { DiskObject } from '../core/disk-index.ts';
import { memoryOf } from '../replicas.ts';
import { objectCrc } from './bucket-format.ts';
import { batchesOf, type DiskCalls } from './disk-calls.ts';
import type { DiskStore } from './disk-store.ts';

export interface RestorationOptions {
  /** This client's. */
  readonly clientId: Uuid;
  readonly disk: DiskStore;
  readonly calls: DiskCalls;
  readonly engine: TransferEngine;
  readonly staging: BufferPool;
  /** Where peers ask for objects of this disk. */
  readonly endpoint: () => string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const batchCountMax = 500;
const retryMs = 1_000;
/** By then a master has forgotten clients that are gone. */
const patienceMs = 60_000;
const readLimitMs = 5_000;

/**
 * Tells a master what lies on the disk.
 *
 * An object of the same name that is in memory somewhere may be another one, put since ours was written.
 * So it is read and compared: ours is offered only when it is the same, and goes when it is not. As long as it
 * cannot be read, since its holder is gone, ours waits; the master forgets such a holder. So does one that
 * another client has on disk: a master takes one such copy only, and that client may be this node before it
 * was started again.
 */
export class Restoration {
  readonly #options: RestorationOptions;
  #doubtful: DiskObject[] = [];
  #sinceMs = 0;

  constructor(options: RestorationOptions) {
    this.#options = options;
  }

  /** How many objects wait for the master to forget others of their names. */
  get doubtfulCount(): number {
    return this.#doubtful.length;
  }

  /** Offers all that is beyond doubt; false when the master did not take it. */
  async begin(signal: CancelSignal): Promise<boolean> {
    this.#doubtful = [];
    this.#sinceMs = this.#options.clock.monotonicMs();
    for (const batch of batchesOf([...this.#options.disk.objects], batchCountMax)) {
      if (signal.aborted || !(await this.#offer(batch, signal, false))) return false;
    }
    return true;
  }

  /** Settles the rest, until all is settled or `signal` fires. */
  async finish(signal: CancelSignal): Promise<void> {
    const { clock, logger } = this.#options;
    while (this.#doubtful.length > 0 && !signal.aborted) {
      const doubtful = this.#doubtful;
      this.#doubtful = [];
      for (const batch of batchesOf(doubtful, batchCountMax)) {
        const isTaken = !signal.aborted && (await this.#offer(batch, signal, true));
        if (!isTaken) this.#doubtful.push(...batch);
      }
      if (this.#doubtful.length === 0) logger.info('disk.restored');
      else await sleep(clock, retryMs, signal);
    }
  }

  async #offer(
    objects: readonly DiskObject[],
    signal: CancelSignal,
    mayRead: boolean,
  ): Promise<boolean> {
    const { calls, disk, endpoint } = this.#options;
    const current = objects.filter((object) => disk.find(object.key) === object);
    const copies = await calls.copiesOf(current.map(({ key }) => parseStorageKey(key)));
    const offered: DiskObject[] = [];
    for (const object of current) {
      const verdict = await this.#judge(object, copies.get(object.key), signal, mayRead);
      if (verdict === 'same') offered.push(object);
      else if (verdict === 'other') await disk.remove(object.key);
      else this.#doubtful.push(object);
    }
    return calls.stored(offered, endpoint());
  }

  /** `copies`: null where the master knows no such object, undefined where it could not say. */
  async #judge(
    object: DiskObject,
    copies: readonly ReplicaDescriptor[] | null | undefined,
    signal: CancelSignal,
    mayRead: boolean,
  ): Promise<'same' | 'other' | 'doubtful'> {
    if (copies === undefined) return 'doubtful';
    if (copies === null) return 'same';
    const { clientId, clock, engine, staging } = this.#options;
    let diskCopyCount = 0;
    for (const { location } of copies) {
      if (location.kind !== 'localDisk') continue;
      if (location.clientId === clientId) return 'same';
      if (location.objectSize !== object.byteCount) return 'other';
      diskCopyCount += 1;
    }
    if (diskCopyCount > 0) {
      const hasPatience = clock.monotonicMs() - this.#sinceMs < patienceMs;
      return hasPatience ? 'doubtful' : 'other';
    }
    if (copies.length === 0) return 'doubtful';
    const memory = memoryOf(copies);
    if (memory === null || memory.byteCount !== object.byteCount) return 'other';
    if (!mayRead) return 'doubtful';
    using limit = deadline(clock, readLimitMs, 'comparing a restored object', signal);
    try {
      const staged = await staging.take(object.byteCount, limit.signal);
      try {
        for (const { endpoint, address } of memory.replicas) {
          await engine.read(endpoint, address, staged.bytes, { signal: limit.signal });
          const crc = await objectCrc(object.key, staged.bytes);
          return crc === object.crc ? 'same' : 'other';
        }
      } finally {
        staged.release();
      }
    } catch {
      // Its holder may be gone, which the master notices in a while.
    }
    return 'doubtful';
  }
}
