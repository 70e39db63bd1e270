import type { Expected, Uuid } from '@tsukimi/wire';
import { done, failed } from './answers.ts';
import type { LocalDisk } from './local-disk-table.ts';
import type { ObjectTable } from './object-table.ts';
import type { StoredObject } from './stored-object.ts';

/** The rules of removal: who is in the way, and what goes. Checks are in the order in which Mooncake makes them. */
export class ObjectRemover {
  readonly #objects: ObjectTable;

  constructor(objects: ObjectTable) {
    this.#objects = objects;
  }

  remove(key: string, force: boolean, tenant: string, nowMs: number): Expected<undefined> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    const refusal = refusalToRemove(object, force, nowMs);
    if (refusal !== null) return failed(refusal);
    this.#objects.erase(object);
    return done;
  }

  /** Gives how many went; `disks` gathers where else they lay. */
  removeWhereAllowed(
    objects: readonly StoredObject[],
    force: boolean,
    nowMs: number,
    disks?: Set<LocalDisk>,
  ): number {
    let count = 0;
    for (const object of objects) {
      if (refusalToRemove(object, force, nowMs) !== null) continue;
      for (const replica of object.replicas) {
        if (replica.kind === 'localDisk') disks?.add(replica.disk);
      }
      this.#objects.erase(object);
      count += 1;
    }
    return count;
  }

  /**
   * Clears objects that `writer` wrote and nobody leases: all their copies, or those in segments of a
   * name. Gives the keys that were cleared; others are skipped silently.
   */
  clearReplicas(
    keys: readonly string[],
    writer: Uuid,
    segmentName: string,
    tenant: string,
    nowMs: number,
  ): string[] {
    return keys.filter((key) => {
      const object = this.#objects.get(key, tenant);
      if (object === undefined || object.writer !== writer) return false;
      if (refusalToRemove(object, false, nowMs) !== null) return false;
      if (segmentName === '') {
        this.#objects.erase(object);
        return true;
      }
      const cleared = object.replicas.filter(
        (replica) =>
          replica.kind === 'memory' &&
          replica.segment.descriptor.name === segmentName &&
          // What is being written to a disk must stay what it is.
          replica.busyCount === 0,
      );
      this.#objects.drop(object, cleared, nowMs);
      return cleared.length > 0;
    });
  }
}

function refusalToRemove(object: StoredObject, force: boolean, nowMs: number) {
  if (!force && object.isLeased(nowMs)) return 'OBJECT_HAS_LEASE';
  const isComplete = object.replicas.every((replica) => replica.isComplete);
  if (!isComplete) return 'REPLICA_IS_NOT_READY';
  return object.replication === null ? null : 'OBJECT_HAS_REPLICATION_TASK';
}
