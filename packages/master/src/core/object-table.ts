import { assert } from '@tsukimi/base';
import type { Uuid } from '@tsukimi/wire';
import { type AsideImage, type ChangeLog, imageOf, type ObjectImage } from './change-log.ts';
import { DueHeap } from './due-heap.ts';
import { EvictionOrder } from './eviction-order.ts';
import type { LocalDiskTable } from './local-disk-table.ts';
import { ObjectList } from './object-list.ts';
import { checkTable } from './object-table-check.ts';
import {
  heldBy,
  inFiles,
  inMemory,
  isOfType,
  type MemoryReplica,
  type Replica,
} from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import {
  type NewObject,
  type ObjectGroup,
  StoredObject,
  type TrailingWrite,
} from './stored-object.ts';
import { type Tenant, TenantTable } from './tenant-table.ts';

/**
 * All objects by tenant and key, and the steps of their lives: begin, complete, reopen, erase.
 *
 * An object can be read once a replica of it is complete; then it is in the eviction order. Until then
 * it is unfinished, in the order its write began. A write may still be at a replica of an object that
 * can be read, a file for example: it is trailing. Replicas that lost their object while somebody may
 * touch their bytes are set aside for a while. An object that nobody can read or writes is none.
 */
export class ObjectTable {
  readonly order: EvictionOrder;
  readonly tenants: TenantTable;
  /** Called with each object that is gone, for those who keep something by objects. */
  readonly onForgotten: ((object: StoredObject) => void)[] = [];
  readonly #segments: SegmentTable;
  readonly #disks: LocalDiskTable;
  readonly #leaseTtlMs: number;
  readonly #putReleaseTimeoutMs: number;
  readonly #changes: ChangeLog | null;
  readonly #unfinished = new ObjectList();
  readonly #trailing = new DueHeap<TrailingWrite>();
  readonly #setAside = new DueHeap<MemoryReplica>();
  #count = 0;
  #inMemoryCount = 0;
  #inFilesCount = 0;
  #setAsideByteCount = 0;
  #sharedFileByteCount = 0;

  constructor(
    segments: SegmentTable,
    disks: LocalDiskTable,
    options: {
      readonly leaseTtlMs: number;
      readonly putReleaseTimeoutMs: number;
      readonly isMultiTenant: boolean;
    },
    changes: ChangeLog | null,
  ) {
    this.#changes = changes;
    this.#segments = segments;
    this.#disks = disks;
    this.#leaseTtlMs = options.leaseTtlMs;
    this.#putReleaseTimeoutMs = options.putReleaseTimeoutMs;
    this.tenants = new TenantTable(options.isMultiTenant);
    this.order = new EvictionOrder(options.leaseTtlMs);
  }

  get count(): number {
    return this.#count;
  }

  /** Objects with a complete copy in memory. */
  get inMemoryCount(): number {
    return this.#inMemoryCount;
  }

  /** Objects with a complete copy in a file, shared or of one client. */
  get inFilesCount(): number {
    return this.#inFilesCount;
  }

  get unfinishedCount(): number {
    return this.#unfinished.length;
  }

  get sharedFileByteCount(): number {
    return this.#sharedFileByteCount;
  }

  get setAsideByteCount(): number {
    return this.#setAsideByteCount;
  }

  get(key: string, tenant: string): StoredObject | undefined {
    return this.tenants.get(tenant)?.objects.get(key);
  }

  /** The keys of one tenant. */
  keys(tenant: string): Iterable<string> {
    return this.tenants.get(tenant)?.objects.keys() ?? [];
  }

  ofTenant(tenant: string): Iterable<StoredObject> {
    return this.tenants.get(tenant)?.objects.values() ?? [];
  }

  *all(): IterableIterator<StoredObject> {
    for (const { objects } of this.tenants.all()) yield* objects.values();
  }

  /** The unfinished write that began first. */
  get oldestUnfinished(): StoredObject | null {
    return this.#unfinished.head;
  }

  *beingWritten(): IterableIterator<StoredObject> {
    yield* this.#unfinished;
    for (const { object } of this.#trailing) yield object;
  }

  /** Whether nothing of the object can be read yet. */
  isUnfinished(object: StoredObject): boolean {
    return object.list === this.#unfinished;
  }

  /** Whether a put or an upsert has begun that has not ended for all replicas. */
  isBeingWritten(object: StoredObject): boolean {
    return object.list === this.#unfinished || object.trailing !== null;
  }

  /** A write begins: the key exists, and cannot be read. */
  begin(fields: NewObject, nowMs: number): StoredObject {
    const object = this.#add(fields, nowMs);
    this.#await(object, nowMs);
    this.#changes?.stored(imageOf(object));
    return object;
  }

  /** An object of another process. Whoever had a lease on it there has one here. */
  restore(image: ObjectImage, replicas: Replica[], nowMs: number): void {
    const object = this.#add({ ...image, replicas }, nowMs);
    object.checksum = image.checksum;
    this.#holds(object, heldBy(replicas));
    if (object.held === 0) {
      this.#await(object, nowMs);
      return;
    }
    this.order.add(object, nowMs);
    if (!replicas.every(({ isComplete }) => isComplete)) this.#trail(object);
    this.lease(object, nowMs);
  }

  /** Bytes that another process had set aside. */
  restoreAside(replica: MemoryReplica, dueMs: number): void {
    replica.dueMs = dueMs;
    this.#setAside.insert(replica);
    this.#setAsideByteCount += replica.block.byteCount;
  }

  #add(fields: NewObject, nowMs: number): StoredObject {
    const tenant = this.tenants.open(fields.tenant);
    assert(tenant.objects.get(fields.key) === undefined, 'a key has one object');
    const object = new StoredObject(tenant, fields, nowMs, groupOf(tenant, fields.groupId));
    tenant.objects.add(object.key, object);
    this.#count += 1;
    object.group?.members.add(object);
    for (const replica of object.replicas) {
      replica.object = object;
      if (replica.kind === 'memory') tenant.chargedByteCount += replica.block.byteCount;
      else if (replica.kind === 'localDisk') this.#disks.add(replica);
      else if (replica.kind === 'disk') this.#sharedFileByteCount += replica.byteCount;
    }
    return object;
  }

  /** The write has ended for the replicas of a type: they can be read, removed and evicted from now on. */
  complete(object: StoredObject, replicaType: number, nowMs: number): void {
    let isComplete = true;
    for (const replica of object.replicas) {
      if (isOfType(replica, replicaType)) replica.isComplete = true;
      if (!replica.isComplete) isComplete = false;
    }
    object.answer = null;
    this.#holds(object, heldBy(object.replicas));
    if (object.held !== 0) {
      if (this.isUnfinished(object)) {
        this.#unfinished.remove(object);
        object.leaseUntilMs = Math.max(object.leaseUntilMs, nowMs);
        this.order.add(object, nowMs);
        if (!isComplete) this.#trail(object);
      } else {
        this.order.changed(object, nowMs);
        if (isComplete) this.#untrail(object);
      }
    }
    this.#changes?.stored(imageOf(object));
  }

  /** Another write into the same bytes begins. */
  reopen(object: StoredObject, writer: Uuid, softPinTtlMs: number, nowMs: number): void {
    assert(!this.isBeingWritten(object), 'a reopened object was complete');
    this.order.remove(object);
    for (const replica of object.replicas) replica.isComplete = false;
    this.#holds(object, 0);
    object.writer = writer;
    object.softPinTtlMs = softPinTtlMs;
    object.answer = null;
    this.#await(object, nowMs);
    this.#changes?.stored(imageOf(object));
  }

  /** Adds a copy to an object that can be read. */
  addReplica(object: StoredObject, replica: Replica, nowMs: number): void {
    assert(!this.isUnfinished(object), 'copies are made of what can be read');
    replica.object = object;
    object.replicas = [...object.replicas, replica];
    if (replica.kind === 'memory') object.tenant.chargedByteCount += replica.block.byteCount;
    else if (replica.kind === 'localDisk') this.#disks.add(replica);
    this.changed(object, nowMs);
  }

  /** Some replica became complete, or lies elsewhere. */
  changed(object: StoredObject, nowMs: number): void {
    object.answer = null;
    this.#holds(object, heldBy(object.replicas));
    if (!this.isUnfinished(object)) this.order.changed(object, nowMs);
    this.#changes?.stored(imageOf(object));
  }

  /** Nobody reads a replica of the object any more. */
  becameIdle(object: StoredObject, nowMs: number): void {
    if (!this.isUnfinished(object)) this.order.changed(object, nowMs);
  }

  *images(): IterableIterator<ObjectImage> {
    for (const object of this.all()) yield imageOf(object);
  }

  *asideImages(): IterableIterator<AsideImage> {
    for (const { id, segment, block } of this.#setAside) {
      yield { id, mount: segment.number, offset: block.offset, byteCount: block.byteCount };
    }
  }

  /** Keeps the object from removal and eviction for the lease's time to live. */
  lease(object: StoredObject, nowMs: number): void {
    const untilMs = nowMs + this.#leaseTtlMs;
    object.leaseUntilMs = untilMs;
    if (object.group !== null) object.group.leaseUntilMs = untilMs;
    this.order.touch(object, nowMs);
  }

  /** Removes the object; its bytes are free at once. */
  erase(object: StoredObject): void {
    this.#forget(object);
    for (const replica of object.replicas) this.#release(replica);
  }

  /** Removes the object; its bytes stay as they are until `dueMs`. */
  eraseLater(object: StoredObject, dueMs: number): void {
    this.#forget(object);
    for (const replica of object.replicas) this.#putAside(replica, dueMs);
  }

  /** Removes some replicas, and the object with the last that can be read; their bytes are free at once. */
  drop(object: StoredObject, replicas: readonly Replica[], nowMs: number): void {
    if (replicas.length === 0) return;
    object.replicas = object.replicas.filter((replica) => !replicas.includes(replica));
    for (const replica of replicas) this.#release(replica);
    this.#settle(object, nowMs);
  }

  /** Removes some replicas; their bytes stay as they are until `dueMs`. */
  dropLater(
    object: StoredObject,
    replicas: readonly Replica[],
    dueMs: number,
    nowMs: number,
  ): void {
    object.replicas = object.replicas.filter((replica) => !replicas.includes(replica));
    for (const replica of replicas) this.#putAside(replica, dueMs);
    this.#settle(object, nowMs);
  }

  /** What is left of a write is given up: bytes that its writer may touch stay until `dueMs`. */
  abandonWrite(object: StoredObject, dueMs: number, nowMs: number): void {
    const begun = object.replicas.filter(({ isComplete }) => !isComplete);
    this.dropLater(object, begun, dueMs, nowMs);
  }

  /** A replica is gone with what held it. An object without replicas is gone too. */
  lose(replica: Replica, nowMs: number): void {
    const { object } = replica;
    if (replica.kind === 'localDisk') this.#disks.remove(replica);
    if (object === null) {
      this.#takeFromAside(replica as MemoryReplica);
      return;
    }
    detach(replica);
    object.replicas = object.replicas.filter((other) => other !== replica);
    this.#settle(object, nowMs);
  }

  /** A write that had all its time and is trailing; null when there is none. */
  overdueTrailing(nowMs: number): StoredObject | null {
    const first = this.#trailing.first;
    return first !== null && first.dueMs <= nowMs ? first.object : null;
  }

  /** Frees what was set aside long enough; gives how many replicas that were. */
  releaseDue(nowMs: number): number {
    let count = 0;
    for (;;) {
      const replica = this.#setAside.takeDue(nowMs);
      if (replica === null) return count;
      this.#setAsideByteCount -= replica.block.byteCount;
      this.#segments.release(replica);
      this.#changes?.released(replica.id);
      count += 1;
    }
  }

  checkInvariants(nowMs: number): void {
    this.order.checkInvariants(nowMs);
    this.#unfinished.checkInvariants();
    this.#trailing.checkInvariants();
    this.#setAside.checkInvariants();
    this.#disks.checkInvariants();
    assert(
      this.#unfinished.length + this.order.count === this.#count,
      'each object is unfinished or in the eviction order',
    );
    let setAsideByteCount = 0;
    for (const replica of this.#setAside) setAsideByteCount += replica.block.byteCount;
    assert(setAsideByteCount === this.#setAsideByteCount, 'bytes set aside are counted');
    checkTable(this, this.#segments, this.#setAside);
  }

  #await(object: StoredObject, nowMs: number): void {
    object.startedMs = nowMs;
    object.rankMs = nowMs;
    this.#unfinished.append(object);
  }

  #trail(object: StoredObject): void {
    const dueMs = object.startedMs + this.#putReleaseTimeoutMs;
    object.trailing = { object, dueMs, heapIndex: -1 };
    this.#trailing.insert(object.trailing);
  }

  #untrail(object: StoredObject): void {
    if (object.trailing === null) return;
    this.#trailing.remove(object.trailing);
    object.trailing = null;
  }

  /** Puts an object where it belongs after it lost replicas. */
  #settle(object: StoredObject, nowMs: number): void {
    object.answer = null;
    const isWritten = this.isBeingWritten(object);
    this.#holds(object, heldBy(object.replicas));
    if (object.held !== 0) {
      if (object.replicas.every(({ isComplete }) => isComplete)) this.#untrail(object);
      this.order.changed(object, nowMs);
    } else if (isWritten && object.replicas.length > 0) {
      if (!this.isUnfinished(object)) {
        this.#untrail(object);
        this.order.remove(object);
        object.rankMs = object.startedMs;
        this.#unfinished.insertByRank(object);
      }
    } else {
      this.eraseLater(object, nowMs + this.#putReleaseTimeoutMs);
      return;
    }
    this.#changes?.stored(imageOf(object));
  }

  #holds(object: StoredObject, held: number): void {
    const before = object.held;
    if (before === held) return;
    object.held = held;
    this.#inMemoryCount += (held & inMemory) - (before & inMemory);
    this.#inFilesCount += ((held & inFiles) - (before & inFiles)) / inFiles;
  }

  #release(replica: Replica): void {
    detach(replica);
    if (replica.kind === 'memory') this.#segments.release(replica);
    else if (replica.kind === 'localDisk') this.#disks.remove(replica);
    else this.#sharedFileByteCount -= replica.byteCount;
  }

  #putAside(replica: Replica, dueMs: number): void {
    if (replica.kind !== 'memory') {
      this.#release(replica);
      return;
    }
    detach(replica);
    this.restoreAside(replica, dueMs);
    const { id, segment, block } = replica;
    const { offset, byteCount } = block;
    this.#changes?.setAside({ id, mount: segment.number, offset, byteCount });
  }

  #takeFromAside(replica: MemoryReplica): void {
    this.#setAside.remove(replica);
    this.#setAsideByteCount -= replica.block.byteCount;
    this.#changes?.released(replica.id);
  }

  #forget(object: StoredObject): void {
    const { tenant, group } = object;
    for (const told of this.onForgotten) told(object);
    this.#changes?.gone(tenant.id, object.key);
    tenant.objects.remove(object.key);
    this.#count -= 1;
    if (this.isUnfinished(object)) this.#unfinished.remove(object);
    else this.order.remove(object);
    this.#untrail(object);
    this.#holds(object, 0);
    if (group !== null) {
      group.members.delete(object);
      if (group.members.size === 0) tenant.groups.delete(group.id);
    }
    this.tenants.close(tenant);
  }
}

/** A replica leaves its object, whose tenant is not charged for it any more. */
function detach(replica: Replica): void {
  if (replica.kind === 'memory' && replica.object !== null) {
    replica.object.tenant.chargedByteCount -= replica.block.byteCount;
  }
  replica.object = null;
}

function groupOf(tenant: Tenant, id: string): ObjectGroup | null {
  if (id === '') return null;
  let group = tenant.groups.get(id);
  if (group === undefined) {
    group = { id, members: new Set(), leaseUntilMs: 0 };
    tenant.groups.set(id, group);
  }
  return group;
}
