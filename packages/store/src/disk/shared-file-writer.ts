import { mkdir } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { type Clock, deadline, Fault, type Logger } from '@tsukimi/base';
import { ReplicaType } from '@tsukimi/wire';
import type { BufferPool } from '../buffer-pool.ts';
import type { Lookups } from '../lookups.ts';
import type { MasterLink } from '../master-link.ts';
import type { ObjectReader } from '../object-reader.ts';
import { LocalDiskFiles } from './disk-files.ts';
import { IoQueue } from './io-queue.ts';

export interface SharedFileWriterOptions {
  readonly link: MasterLink;
  readonly lookups: Lookups;
  readonly reader: ObjectReader;
  readonly staging: BufferPool;
  readonly clock: Clock;
  readonly logger: Logger;
}

const limits = { runningCountMax: 2, waitingCountMax: 256 };
const limitMs = 30_000;
const callLimit = { timeoutMs: 5_000 };

/**
 * Writes the copies that a master wants in a directory which all clients share: after the put has ended, one
 * file for each object, and only below the directory that the master names. A copy that cannot be written is
 * given up; the object is in memory all the same.
 */
export class SharedFileWriter {
  readonly #options: SharedFileWriterOptions;
  readonly #queue = new IoQueue(limits);
  readonly #files = new LocalDiskFiles();
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(options: SharedFileWriterOptions) {
    this.#options = options;
  }

  /** The object can be read from memory now. */
  offer(key: string, path: string): void {
    const running = this.#copy(key, path).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Fault('CANCELLED', 'the store client is stopping'));
    await Promise.all(this.#running);
  }

  async #copy(key: string, path: string): Promise<void> {
    const { link, logger } = this.#options;
    const { clientId, tenantId } = link;
    try {
      const objectChecksum = await this.#queue.run(() => this.#write(key, path));
      const args = [clientId, { key, objectChecksum }, ReplicaType.DISK, tenantId] as const;
      await link.ask('PutEnd', [...args], callLimit);
    } catch (error) {
      logger.warn('store.shared_file_unwritten', { reason: String(error) });
      await link.ask('PutRevoke', [clientId, key, ReplicaType.DISK, tenantId], callLimit);
    }
  }

  /** The object's checksum. */
  async #write(key: string, filePath: string): Promise<bigint | null> {
    const { clock, link, lookups, reader, staging } = this.#options;
    using limit = deadline(clock, limitMs, 'writing a shared file', this.#stopping.signal);
    const path = resolve(filePath);
    if (link.sharedDirectory === '' || !path.startsWith(resolve(link.sharedDirectory) + sep)) {
      throw new Fault('REFUSED', `${filePath} is outside of the shared directory`);
    }
    const [found] = await lookups.find([key], limit.signal);
    if (found === undefined || 'error' in found) throw new Fault('NOT_FOUND', 'the object is gone');
    const buffer = await staging.take(found.ok.byteCount, limit.signal);
    try {
      const outcome = await reader.read(found.ok, buffer.bytes, limit.signal);
      if (outcome !== 'read') throw new Fault('PEER_UNREACHABLE', `the read was ${outcome}`);
      await mkdir(dirname(path), { recursive: true });
      await this.#files.write(`${path}.tmp`, [buffer.bytes]);
      await this.#files.rename(`${path}.tmp`, path);
      return found.ok.checksum;
    } finally {
      buffer.release();
    }
  }
}
