import { assert } from '@tsukimi/base';
import type { Uuid } from '@tsukimi/wire';
import type { ChangeLog } from './change-log.ts';
import type { LocalDiskReplica } from './replica.ts';

/** A client's own disk that holds objects, as far as that client has told. */
export interface LocalDisk {
  /** Given to each registration once, counted from 1. */
  readonly number: number;
  readonly owner: Uuid;
  readonly replicas: Set<LocalDiskReplica>;
  usedByteCount: number;
  /** Whether its client is to be heard first: until then nobody is sent there. */
  isAway: boolean;
  /** Whether its client may be dead: nobody is sent there meanwhile. */
  isSuspect: boolean;
}

/** The disks that clients registered; each client has one at most. */
export class LocalDiskTable {
  readonly #byOwner = new Map<Uuid, LocalDisk>();
  readonly #changes: ChangeLog | null;
  #awayCount = 0;
  #suspectCount = 0;
  #nextNumber = 1;

  constructor(changes: ChangeLog | null) {
    this.#changes = changes;
  }

  /** In how many nobody may read: their clients are to be heard first, or may be dead. */
  get unreadableCount(): number {
    return this.#awayCount + this.#suspectCount;
  }

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
      disk = this.restore(owner, this.#nextNumber);
      this.#changes?.diskMounted({ number: disk.number, owner });
    }
    if (disk.isAway) this.#awayCount -= 1;
    disk.isAway = false;
    for (const { object } of disk.replicas) if (object !== null) object.answer = null;
    return disk;
  }

  /** A disk that its client had registered with another process. */
  restore(owner: Uuid, number: number): LocalDisk {
    const replicas = new Set<LocalDiskReplica>();
    const disk = { number, owner, replicas, usedByteCount: 0, isAway: true, isSuspect: false };
    this.#byOwner.set(owner, disk);
    this.#awayCount += 1;
    this.#nextNumber = Math.max(this.#nextNumber, number + 1);
    return disk;
  }

  trust(disk: LocalDisk, isSuspect: boolean): void {
    if (disk.isSuspect === isSuspect) return;
    disk.isSuspect = isSuspect;
    this.#suspectCount += isSuspect ? 1 : -1;
    for (const { object } of disk.replicas) if (object !== null) object.answer = null;
  }

  /** Forgets a disk; what it holds is the caller's business. */
  unmount(disk: LocalDisk): void {
    assert(this.#byOwner.delete(disk.owner), 'an unmounted disk was mounted');
    if (disk.isAway) this.#awayCount -= 1;
    if (disk.isSuspect) this.#suspectCount -= 1;
    this.#changes?.diskUnmounted(disk.number);
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
