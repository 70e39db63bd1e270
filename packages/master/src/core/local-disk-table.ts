import { assert } from '@tsukimi/base';
import type { Uuid } from '@tsukimi/wire';
import type { ChangeLog } from './change-log.ts';
import type { Offload } from './offloader.ts';
import type { Promotion } from './promoter.ts';
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
  /** As its client reported; 0 before. */
  capacityByteCount: number;
  /** Whether its client takes objects to write. */
  isOffloading: boolean;
  /** What its client is told to write, and to bring back, when it next asks. */
  readonly offloads: Set<Offload>;
  readonly promotions: Set<Promotion>;
  /** Whether its client is told to remove everything when it next asks. */
  mustRemoveAll: boolean;
}

/** The disks that clients registered; each client has one at most. */
export class LocalDiskTable {
  readonly #byOwner = new Map<Uuid, LocalDisk>();
  readonly #changes: ChangeLog | null;
  #awayCount = 0;
  #suspectCount = 0;
  #nextNumber = 1;
  #usedByteCount = 0;
  #capacityByteCount = 0;

  constructor(changes: ChangeLog | null) {
    this.#changes = changes;
  }

  /** In how many nobody may read: their clients are to be heard first, or may be dead. */
  get unreadableCount(): number {
    return this.#awayCount + this.#suspectCount;
  }

  get usedByteCount(): number {
    return this.#usedByteCount;
  }

  get capacityByteCount(): number {
    return this.#capacityByteCount;
  }

  get(owner: Uuid): LocalDisk | undefined {
    return this.#byOwner.get(owner);
  }

  /** The disk of a client that has lent it to us: one that only another process knew is asked for again. */
  lent(owner: Uuid): LocalDisk | undefined {
    const disk = this.#byOwner.get(owner);
    return disk?.isAway === true ? undefined : disk;
  }

  all(): IterableIterator<LocalDisk> {
    return this.#byOwner.values();
  }

  /** The client's disk, registered from here on. */
  mount(owner: Uuid, isOffloading: boolean): LocalDisk {
    let disk = this.#byOwner.get(owner);
    if (disk === undefined) {
      disk = this.restore(owner, this.#nextNumber);
      this.#changes?.diskMounted({ number: disk.number, owner });
    }
    if (disk.isAway) {
      this.#awayCount -= 1;
      disk.isAway = false;
      disk.isOffloading = isOffloading;
    }
    return disk;
  }

  /** A disk that its client had registered with another process. */
  restore(owner: Uuid, number: number): LocalDisk {
    const disk: LocalDisk = {
      number,
      owner,
      replicas: new Set(),
      usedByteCount: 0,
      isAway: true,
      isSuspect: false,
      capacityByteCount: 0,
      isOffloading: false,
      offloads: new Set(),
      promotions: new Set(),
      mustRemoveAll: false,
    };
    this.#byOwner.set(owner, disk);
    this.#awayCount += 1;
    this.#nextNumber = Math.max(this.#nextNumber, number + 1);
    return disk;
  }

  trust(disk: LocalDisk, isSuspect: boolean): void {
    if (disk.isSuspect === isSuspect) return;
    disk.isSuspect = isSuspect;
    this.#suspectCount += isSuspect ? 1 : -1;
  }

  /** Forgets a disk. Gives the replicas that are gone. */
  unmount(disk: LocalDisk): LocalDiskReplica[] {
    assert(this.#byOwner.delete(disk.owner), 'an unmounted disk was mounted');
    if (disk.isAway) this.#awayCount -= 1;
    if (disk.isSuspect) this.#suspectCount -= 1;
    this.#changes?.diskUnmounted(disk.number);
    this.#usedByteCount -= disk.usedByteCount;
    this.#capacityByteCount -= disk.capacityByteCount;
    return [...disk.replicas];
  }

  /** False when all disks together would be larger than can be counted. */
  resize(disk: LocalDisk, capacityByteCount: number): boolean {
    const others = this.#capacityByteCount - disk.capacityByteCount;
    if (!Number.isSafeInteger(others + capacityByteCount)) return false;
    this.#capacityByteCount = others + capacityByteCount;
    disk.capacityByteCount = capacityByteCount;
    return true;
  }

  /** Whether so many bytes more on all disks can be counted. */
  canCount(byteCount: number): boolean {
    return Number.isSafeInteger(this.#usedByteCount + byteCount);
  }

  add(replica: LocalDiskReplica): void {
    replica.disk.replicas.add(replica);
    replica.disk.usedByteCount += replica.byteCount;
    this.#usedByteCount += replica.byteCount;
  }

  remove(replica: LocalDiskReplica): void {
    assert(replica.disk.replicas.delete(replica), 'a disk knows what it holds');
    replica.disk.usedByteCount -= replica.byteCount;
    if (this.#byOwner.get(replica.disk.owner) === replica.disk) {
      this.#usedByteCount -= replica.byteCount;
    }
  }

  checkInvariants(): void {
    let usedByteCount = 0;
    let capacityByteCount = 0;
    for (const disk of this.#byOwner.values()) {
      let heldByteCount = 0;
      for (const replica of disk.replicas) {
        assert(replica.disk === disk, 'a replica on a disk knows it');
        assert(replica.object?.replicas.includes(replica) === true, 'what a disk holds is used');
        heldByteCount += replica.byteCount;
      }
      assert(heldByteCount === disk.usedByteCount, 'bytes on a disk are counted');
      usedByteCount += disk.usedByteCount;
      capacityByteCount += disk.capacityByteCount;
    }
    assert(usedByteCount === this.#usedByteCount, 'bytes on all disks are counted');
    assert(capacityByteCount === this.#capacityByteCount, 'the space of all disks is counted');
  }
}
