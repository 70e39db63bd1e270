import type { CancelSignal, Clock, Logger } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import type { EndpointHealth } from './core/endpoint-health.ts';
import { checksumOf } from './crc64.ts';
import type { DiskReader } from './disk/disk-reader.ts';
import type { ByteRange, MemoryReplica, ReadOutcome, StoredObject } from './stored-object.ts';

export interface ObjectReaderOptions {
  /** Replicas in its own memory are read first. */
  readonly engine: TransferEngine;
  readonly health: EndpointHealth;
  /** Asked where no memory has the bytes. */
  readonly disks: DiskReader;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Objects of this size and more are read from several replicas at once. */
const stripedByteCountMin = 8 * 2 ** 20;
const stripeCountMax = 4;

/** Copies stored objects into the caller's memory, from wherever a replica can be reached. */
export class ObjectReader {
  readonly #options: ObjectReaderOptions;

  constructor(options: ObjectReaderOptions) {
    this.#options = options;
  }

  /** `into` has the object's length. After anything but `read` its content means nothing. */
  async read(object: StoredObject, into: Buffer, signal: CancelSignal): Promise<ReadOutcome> {
    const replicas = this.#inOrder(object);
    const range = { offset: 0, into };
    let outcome: ReadOutcome = 'failed';
    if (into.length >= stripedByteCountMin && replicas.length > 1) {
      if (this.#isExpired(object)) return 'lease-expired';
      const read = await this.#readStriped(replicas, range, signal);
      if (read) outcome = await this.#judge(object, into);
      if (read && outcome !== 'damaged') return outcome;
    }
    for (const replica of replicas) {
      if (signal.aborted) return 'failed';
      if (this.#isExpired(object)) return 'lease-expired';
      if (!(await this.#copy(replica, range, signal))) continue;
      outcome = await this.#judge(object, into);
      if (outcome !== 'damaged') return outcome;
      const { key } = object;
      this.#options.logger.warn('store.checksum_mismatch', { key, endpoint: replica.endpoint });
    }
    for (const copy of object.descriptors) {
      if (signal.aborted) return 'failed';
      if (this.#isExpired(object)) return 'lease-expired';
      if (!(await this.#options.disks.read(object, copy, range, signal))) continue;
      outcome = await this.#judge(object, into);
      if (outcome !== 'damaged') return outcome;
      this.#options.logger.warn('store.checksum_mismatch', { key: object.key, endpoint: 'disk' });
    }
    return outcome;
  }

  /** Parts of an object; nothing tells whether they are undamaged. */
  async readRange(
    object: StoredObject,
    range: ByteRange,
    signal: CancelSignal,
  ): Promise<Exclude<ReadOutcome, 'damaged'>> {
    for (const replica of this.#inOrder(object)) {
      if (this.#isExpired(object)) return 'lease-expired';
      if (!(await this.#copy(replica, range, signal))) continue;
      return this.#isExpired(object) ? 'lease-expired' : 'read';
    }
    for (const copy of object.descriptors) {
      if (this.#isExpired(object)) return 'lease-expired';
      if (!(await this.#options.disks.read(object, copy, range, signal))) continue;
      return this.#isExpired(object) ? 'lease-expired' : 'read';
    }
    return 'failed';
  }

  /** A lease that ran out while the bytes came does not vouch for them. */
  async #judge(object: StoredObject, into: Buffer): Promise<ReadOutcome> {
    if (this.#isExpired(object)) return 'lease-expired';
    if (object.checksum === null) return 'read';
    return (await checksumOf([into])) === object.checksum ? 'read' : 'damaged';
  }

  #isExpired({ leaseUntilMs }: StoredObject): boolean {
    return this.#options.clock.monotonicMs() >= leaseUntilMs;
  }

  /** Our own memory first, those who failed lately last. */
  #inOrder({ replicas }: StoredObject): readonly MemoryReplica[] {
    if (replicas.length < 2) return replicas;
    const { clock, engine, health } = this.#options;
    const nowMs = clock.monotonicMs();
    const rank = ({ endpoint }: MemoryReplica) =>
      endpoint === engine.name ? 0 : health.isSuspect(endpoint, nowMs) ? 2 : 1;
    return replicas.toSorted((left, right) => rank(left) - rank(right));
  }

  /** Each replica gives a part; a part that its replica does not give is read from the next ones. */
  async #readStriped(
    replicas: readonly MemoryReplica[],
    { offset, into }: ByteRange,
    signal: CancelSignal,
  ): Promise<boolean> {
    const first = replicas[0] as MemoryReplica;
    // What lies in reach is copied faster than any network brings it.
    const isMapped = this.#copyMapped(first, { offset, into }, signal);
    if (await isMapped.catch(() => false)) return true;
    const { clock, health } = this.#options;
    const nowMs = clock.monotonicMs();
    const sources = replicas
      .filter(({ endpoint }) => !health.isSuspect(endpoint, nowMs))
      .slice(0, stripeCountMax);
    if (sources.length < 2) return false;
    const stripeByteCount = Math.ceil(into.length / sources.length);
    const stripes = await Promise.all(
      sources.map(async (source, index) => {
        const at = index * stripeByteCount;
        const stripe = { offset: offset + at, into: into.subarray(at, at + stripeByteCount) };
        for (const replica of [source, ...replicas.filter((other) => other !== source)]) {
          if (await this.#copy(replica, stripe, signal)) return true;
        }
        return false;
      }),
    );
    return stripes.every((isRead) => isRead);
  }

  /** False when it failed, after saying so. */
  async #copy(replica: MemoryReplica, range: ByteRange, signal: CancelSignal): Promise<boolean> {
    const { clock, engine, health, logger } = this.#options;
    const { endpoint, address } = replica;
    try {
      if (!(await this.#copyMapped(replica, range, signal))) {
        await engine.read(endpoint, address + BigInt(range.offset), range.into, { signal });
      }
      health.worked(endpoint);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      logger.warn('store.read_failed', { endpoint, reason: String(error) });
      health.failed(endpoint, clock.monotonicMs());
      engine.invalidate(endpoint);
      return false;
    }
  }

  /** False where the bytes are not in memory of this process or host. */
  async #copyMapped(
    { endpoint, address }: MemoryReplica,
    { offset, into }: ByteRange,
    signal: CancelSignal,
  ): Promise<boolean> {
    const { engine } = this.#options;
    const view = await engine.mapped(endpoint, address + BigInt(offset), into.length, { signal });
    if (view === null) return false;
    view.copy(into);
    return true;
  }
}
