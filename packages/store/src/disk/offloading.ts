import type { Logger } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import { type ReplicaDescriptor, storageKeyOf } from '@tsukimi/wire';
import type { DiskCalls, DiskTask } from './disk-calls.ts';
import type { DiskStore, ObjectBytes } from './disk-store.ts';

export interface OffloadingOptions {
  readonly disk: DiskStore;
  readonly calls: DiskCalls;
  /** Whose memory the objects lie in. */
  readonly engine: TransferEngine;
  /** Where peers ask for objects of this disk; only once its server runs. */
  readonly endpoint: () => string;
  readonly logger: Logger;
}

interface InMemory extends ObjectBytes {
  readonly task: DiskTask;
  readonly address: bigint;
}

/** Of one file; a larger object has a file of its own. */
const bucketByteCountMax = 64 * 2 ** 20;
const bucketObjectCountMax = 500;

/** Writes objects from this client's memory to its disk, as the master asks. */
export class Offloading {
  readonly #options: OffloadingOptions;

  constructor(options: OffloadingOptions) {
    this.#options = options;
  }

  /** Whatever happens, the master is told of each task how it ended. */
  async perform(tasks: readonly DiskTask[], signal: AbortSignal): Promise<void> {
    const { calls, logger } = this.#options;
    const failed: DiskTask[] = [];
    let stored = 0;
    const inMemory = await this.#findInMemory(tasks, failed);
    for (const bucket of bucketsOf(inMemory)) {
      const isStored = !signal.aborted && (await this.#store(bucket, failed));
      if (isStored) stored += bucket.length;
      else failed.push(...bucket.map(({ task }) => task));
    }
    await calls.notStored(failed);
    logger.info('disk.offloaded', { stored, failed: failed.length });
  }

  async #findInMemory(tasks: readonly DiskTask[], failed: DiskTask[]): Promise<InMemory[]> {
    const { calls, engine } = this.#options;
    const copies = await calls.copiesOf(tasks);
    const found: InMemory[] = [];
    for (const task of tasks) {
      const key = storageKeyOf(task.tenantId, task.key);
      const address = addressIn(engine.name, copies.get(key) ?? [], task.size);
      const bytes =
        address === null
          ? null
          : await engine.mapped(engine.name, address, task.size).catch(() => null);
      if (address === null || bytes === null) failed.push(task);
      else found.push({ key, bytes, task, address });
    }
    return found;
  }

  /** False when nothing of it is on disk. */
  async #store(bucket: readonly InMemory[], failed: DiskTask[]): Promise<boolean> {
    const { calls, disk, endpoint, engine } = this.#options;
    const written = await disk.write(bucket);
    if (typeof written === 'string') return false;
    // Memory that changed hands meanwhile may have given other bytes than the key's.
    const copies = await calls.copiesOf(bucket.map(({ task }) => task));
    const valid = new Set<string>();
    for (const { key, task, address } of bucket) {
      const isSame = addressIn(engine.name, copies.get(key) ?? [], task.size) === address;
      if (isSame) valid.add(key);
      else {
        await disk.remove(key);
        failed.push(task);
      }
    }
    const objects = written.filter(({ key }) => valid.has(key));
    if (await calls.stored(objects, endpoint())) return true;
    for (const { key } of objects) await disk.remove(key);
    return false;
  }
}

function addressIn(
  engineName: string,
  copies: readonly ReplicaDescriptor[],
  byteCount: number,
): bigint | null {
  for (const { location } of copies) {
    if (location.kind !== 'memory') continue;
    const { size, transportEndpoint, bufferAddress } = location.buffer;
    if (transportEndpoint === engineName && size === byteCount) return bufferAddress;
  }
  return null;
}

function* bucketsOf(objects: readonly InMemory[]): Generator<readonly InMemory[]> {
  let bucket: InMemory[] = [];
  let byteCount = 0;
  for (const object of objects) {
    const isFull =
      bucket.length === bucketObjectCountMax ||
      (bucket.length > 0 && byteCount + object.bytes.length > bucketByteCountMax);
    if (isFull) {
      yield bucket;
      bucket = [];
      byteCount = 0;
    }
    bucket.push(object);
    byteCount += object.bytes.length;
  }
  if (bucket.length > 0) yield bucket;
}
