import { assert } from '@tsukimi/base';
import type { Uuid } from '@tsukimi/wire';
import type { LocalDiskReplica } from './replica.ts';

/** A client's own disk that holds objects, as far as that client has told. */
export interface LocalDisk {
  readonly owner: Uuid;
  readonly replicas: Set<LocalDiskReplica>;
  usedByteCount: number;
}

/** The disks that clients registered; each client has one at most. */
export class LocalDiskTable {
  readonly #byOwner = new Map<Uuid, LocalDisk>();

  get(owner: Uuid): LocalDisk | undefined {
    return this.#byOwner.get(owner);
  }

  all(): IterableIterator<LocalDisk> {
    return this.#byOwner.values();
  }

  /** The client's disk, registered from here on. */
  mount(owner: Uuid): LocalDisk {
    let disk = this.#byOwner.get(owner);
    if (disk === undefined) {
      disk = { owner, replicas: new Set(), usedByteCount: 0 };
      this.#byOwner.set(owner, disk);
    }
    return disk;
  }

  /** Forgets a disk; what it holds is the caller's business. */
  unmount(disk: LocalDisk): void {
    assert(this.#byOwner.delete(disk.owner), 'an unmounted disk was mounted');
  }

  add(replica: LocalDiskReplica): void {
    replica.disk.replicas.add(replica);
    replica.disk.usedByteCount += replica.byteCount;
  }

  remove(replica: LocalDiskReplica): void {
    assert(replica.disk.replicas.delete(replica), 'a disk knows what it holds');
    replica.disk.usedByteCount -= replica.byteCount;
  }

  checkInvariants(): void {
    for (const disk of this.#byOwner.values()) {
      let usedByteCount = 0;
      for (const replica of disk.replicas) {
        assert(replica.disk === disk, 'a replica on a disk knows it');
        assert(replica.object?.replicas.includes(replica) === true, 'what a disk holds is used');
        usedByteCount += replica.byteCount;
      }
      assert(usedByteCount === disk.usedByteCount, 'bytes on a disk are counted');
    }
  }
}
