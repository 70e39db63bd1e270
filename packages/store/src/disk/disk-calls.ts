import { type Logger } from '@tsukimi/base';
import {
  ErrorCode,
  errorName,
  parseStorageKey,
  type ReplicaDescriptor,
  ReplicaStatus,
  ReplicaType,
} from '@tsukimi/wire';
import type { DiskObject } from '../core/disk-index.ts';
import type { MasterLink } from '../master-link.ts';

export interface DiskTask {
  readonly tenantId: string;
  readonly key: string;
  readonly size: number;
}

export const diskCallLimit = { timeoutMs: 5_000 };
/** Objects of one call. */
const batchCountMax = 500;

/** What a client with a disk tells the master and asks it. Nothing rejects. */
export class DiskCalls {
  readonly #link: MasterLink;
  readonly #logger: Logger;

  constructor(link: MasterLink, logger: Logger) {
    this.#link = link;
    this.#logger = logger;
  }

  /** Objects that lie on this client's disk, readable at `transportEndpoint`; whether the master took all. */
  async stored(objects: readonly DiskObject[], transportEndpoint: string): Promise<boolean> {
    for (const batch of batchesOf(objects, batchCountMax)) {
      const tasks = batch.map(({ key, byteCount }) => ({
        ...parseStorageKey(key),
        size: byteCount,
      }));
      const metadatas = batch.map(({ key, bucket, offset, byteCount }) => ({
        bucketId: bucket.id,
        offset,
        keySize: Buffer.byteLength(key),
        dataSize: byteCount,
        transportEndpoint,
      }));
      if (!(await this.#notify(tasks, metadatas))) return false;
    }
    return true;
  }

  /** Objects that were to be stored and are not: the master goes on without. */
  async notStored(tasks: readonly DiskTask[]): Promise<void> {
    for (const batch of batchesOf(tasks, batchCountMax)) {
      const metadatas = batch.map(() => ({
        bucketId: -1,
        offset: 0,
        keySize: 0,
        dataSize: -1,
        transportEndpoint: '',
      }));
      await this.#notify(batch, metadatas);
    }
  }

  /** Objects that are on this client's disk no more. */
  async gone(storageKeys: readonly string[]): Promise<void> {
    const { clientId } = this.#link;
    for (const [tenantId, keys] of byTenant(storageKeys.map(parseStorageKey))) {
      for (const batch of batchesOf(keys, batchCountMax)) {
        const args = [clientId, batch, tenantId, ReplicaType.LOCAL_DISK] as const;
        const limit = diskCallLimit;
        await this.#link.askEach('BatchEvictDiskReplica', batch.length, [...args], limit);
      }
    }
  }

  /** The copies of objects, by their storage keys; null for those that do not exist. Others are absent. */
  async copiesOf(
    objects: readonly { readonly tenantId: string; readonly key: string }[],
  ): Promise<ReadonlyMap<string, readonly ReplicaDescriptor[] | null>> {
    const copies = new Map<string, readonly ReplicaDescriptor[] | null>();
    for (const [tenantId, keys] of byTenant(objects)) {
      for (const batch of batchesOf(keys, batchCountMax)) {
        const args = [batch, tenantId] as const;
        const limit = diskCallLimit;
        const answers = await this.#link.askEach(
          'BatchGetReplicaList',
          batch.length,
          [...args],
          limit,
        );
        for (const [at, answer] of answers.entries()) {
          const storageKey = `${tenantId}\0${batch[at]}`;
          if ('ok' in answer) {
            const complete = answer.ok.replicas.filter(
              ({ status }) => status === ReplicaStatus.COMPLETE,
            );
            copies.set(storageKey, complete);
          } else if (answer.error === ErrorCode.OBJECT_NOT_FOUND) copies.set(storageKey, null);
        }
      }
    }
    return copies;
  }

  async #notify(
    tasks: readonly DiskTask[],
    metadatas: readonly {
      readonly bucketId: number;
      readonly offset: number;
      readonly keySize: number;
      readonly dataSize: number;
      readonly transportEndpoint: string;
    }[],
  ): Promise<boolean> {
    const args = [this.#link.clientId, tasks, metadatas] as const;
    const answer = await this.#link.ask('NotifyOffloadSuccess', [...args], diskCallLimit);
    if ('ok' in answer) return true;
    this.#logger.warn('disk.notify_failed', { error: errorName(answer.error) });
    return false;
  }
}

function byTenant(
  objects: readonly { readonly tenantId: string; readonly key: string }[],
): Map<string, string[]> {
  const keysByTenant = new Map<string, string[]>();
  for (const { tenantId, key } of objects) {
    const keys = keysByTenant.get(tenantId);
    if (keys === undefined) keysByTenant.set(tenantId, [key]);
    else keys.push(key);
  }
  return keysByTenant;
}

export function* batchesOf<T>(items: readonly T[], countMax: number): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += countMax) yield items.slice(at, at + countMax);
}
