import { open } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import type { CancelSignal, Logger } from '@tsukimi/base';
import { type ReplicaDescriptor, ReplicaStatus, storageKeyOf } from '@tsukimi/wire';
import type { ByteRange, StoredObject } from '../stored-object.ts';
import type { DiskTier } from './disk-tier.ts';
import type { PeerDisks } from './peer-disks.ts';

export interface DiskReaderOptions {
  /** This client's own; null where it has none. */
  readonly tier: DiskTier | null;
  readonly peers: PeerDisks;
  readonly tenantId: string;
  /** The directory for files that all clients share, as the master says; empty for none. */
  readonly sharedDirectory: () => string;
  readonly logger: Logger;
}

/** Reads copies that lie on disks: this client's, those of others, and files that all share. */
export class DiskReader {
  readonly #options: DiskReaderOptions;

  constructor(options: DiskReaderOptions) {
    this.#options = options;
  }

  /** Whether the copy is on a disk and could be read. */
  async read(
    { key, byteCount }: StoredObject,
    { location, status }: ReplicaDescriptor,
    range: ByteRange,
    signal: CancelSignal,
  ): Promise<boolean> {
    if (status !== ReplicaStatus.COMPLETE) return false;
    if (location.kind === 'disk') {
      return location.objectSize === byteCount && this.#readShared(location.filePath, range);
    }
    if (location.kind !== 'localDisk' || location.objectSize !== byteCount) return false;
    const { peers, tenantId, tier } = this.#options;
    const { transportEndpoint: endpoint } = location;
    if (tier !== null && range.into.length === byteCount) {
      const outcome = await tier.readOwn(endpoint, storageKeyOf(tenantId, key), range.into);
      if (outcome !== null) return outcome === 'read';
    }
    return peers.read(endpoint, key, byteCount, range, signal);
  }

  /** Only below the directory that the master names: a path from the network reaches nothing else. */
  async #readShared(filePath: string, { offset, into }: ByteRange): Promise<boolean> {
    const { logger, sharedDirectory } = this.#options;
    const directory = sharedDirectory();
    const path = resolve(filePath);
    if (directory === '' || !path.startsWith(resolve(directory) + sep)) return false;
    try {
      const file = await open(path, 'r');
      try {
        let done = 0;
        while (done < into.length) {
          const left = into.length - done;
          const { bytesRead } = await file.read(into, done, left, offset + done);
          if (bytesRead === 0) return false;
          done += bytesRead;
        }
        return true;
      } finally {
        await file.close();
      }
    } catch (error) {
      logger.warn('store.shared_file_unreadable', { reason: String(error) });
      return false;
    }
  }
}
