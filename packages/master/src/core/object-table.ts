import { assert } from '@tsukimi/base';
import type { Uuid } from '@tsukimi/wire';
import { DueHeap } from './due-heap.ts';
import { EvictionOrder } from './eviction-order.ts';
import { KeyIndex } from './key-index.ts';
import { ObjectList } from './object-list.ts';
import type { SegmentTable } from './segment-table.ts';
import { type NewObject, type ObjectGroup, type Replica, StoredObject } from './stored-object.ts';

/**
 * All objects by key, and the steps of their lives: begin, complete, reopen, erase. An object is
 * either unfinished, in the order its write began, or complete and in the eviction order. Replicas that
 * lost their object while somebody may still touch their bytes are set aside for a while.
 */
export class ObjectTable {
  readonly order: EvictionOrder;
  readonly #segments: SegmentTable;
  readonly #leaseTtlMs: number;
  readonly #byKey = new KeyIndex<StoredObject>();
  readonly #unfinished = new ObjectList();
  readonly #groups = new Map<string, ObjectGroup>();
  readonly #setAside = new DueHeap<Replica>();
  #setAsideByteCount = 0;

  constructor(segments: SegmentTable, leaseTtlMs: number) {
    this.#segments = segments;
    this.#leaseTtlMs = leaseTtlMs;
    this.order = new EvictionOrder(leaseTtlMs);
  }

  get count(): number {
    return this.#byKey.count;
  }

  get unfinishedCount(): number {
    return this.#unfinished.length;
  }

  get setAsideByteCount(): number {
    return this.#setAsideByteCount;
  }

  get(key: string): StoredObject | undefined {
    return this.#byKey.get(key);
  }

  keys(): IterableIterator<string> {
    return this.#byKey.keys();
  }

  all(): IterableIterator<StoredObject> {
    return this.#byKey.values();
  }

  /** The unfinished write that began first. */
  get oldestUnfinished(): StoredObject | null {
    return this.#unfinished.head;
  }

  unfinished(): IterableIterator<StoredObject> {
    return this.#unfinished[Symbol.iterator]();
  }

  isUnfinished(object: StoredObject): boolean {
    return object.list === this.#unfinished;
  }

  /** A write begins: the key exists, and cannot be read. */
  begin(fields: NewObject, nowMs: number): StoredObject {
    assert(this.#byKey.get(fields.key) === undefined, 'a key has one object');
    const object = new StoredObject(fields, nowMs, this.#group(fields.groupId));
    this.#byKey.add(object.key, object);
    object.group?.members.add(object);
    for (const replica of object.replicas) replica.object = object;
    this.#await(object, nowMs);
    return object;
  }

  /** The write has ended: the object can be read, removed and evicted from now on. */
  complete(object: StoredObject, checksum: bigint | null, nowMs: number): void {
    assert(this.isUnfinished(object), 'a completed object was unfinished');
    this.#unfinished.remove(object);
    object.checksum = checksum;
    object.leaseUntilMs = Math.max(object.leaseUntilMs, nowMs);
    object.answer = null;
    this.order.add(object, nowMs);
  }

  /** Another write into the same bytes begins. */
  reopen(object: StoredObject, writer: Uuid, softPinTtlMs: number, nowMs: number): void {
    assert(!this.isUnfinished(object), 'a reopened object was complete');
    this.order.remove(object);
    object.writer = writer;
    object.softPinTtlMs = softPinTtlMs;
    object.answer = null;
    this.#await(object, nowMs);
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
    for (const replica of object.replicas) {
      replica.object = null;
      this.#segments.release(replica);
    }
  }

  /** Removes the object; its bytes stay as they are until `dueMs`. */
  eraseLater(object: StoredObject, dueMs: number): void {
    this.#forget(object);
    for (const replica of object.replicas) {
      replica.object = null;
      replica.dueMs = dueMs;
      this.#setAside.insert(replica);
      this.#setAsideByteCount += replica.block.byteCount;
    }
  }

  /** Drops the copies in segments of a name, and the object with its last; tells whether any was there. */
  dropReplicasIn(object: StoredObject, segmentName: string): boolean {
    const dropped = object.replicas.filter(
      ({ segment }) => segment.descriptor.name === segmentName,
    );
    for (const replica of dropped) {
      this.lose(replica);
      this.#segments.release(replica);
    }
    return dropped.length > 0;
  }

  /** A replica is gone. An object without replicas is gone too. The bytes are the caller's business. */
  lose(replica: Replica): void {
    const { object } = replica;
    if (object === null) {
      this.#setAside.remove(replica);
      this.#setAsideByteCount -= replica.block.byteCount;
      return;
    }
    replica.object = null;
    object.replicas = object.replicas.filter((other) => other !== replica);
    object.answer = null;
    if (object.replicas.length === 0) this.#forget(object);
  }

  /** Frees what was set aside long enough; gives how many replicas that were. */
  releaseDue(nowMs: number): number {
    let count = 0;
    for (;;) {
      const replica = this.#setAside.takeDue(nowMs);
      if (replica === null) return count;
      this.#setAsideByteCount -= replica.block.byteCount;
      this.#segments.release(replica);
      count += 1;
    }
  }

  checkInvariants(nowMs: number): void {
    this.order.checkInvariants(nowMs);
    this.#unfinished.checkInvariants();
    this.#setAside.checkInvariants();
    assert(
      this.#unfinished.length + this.order.count === this.#byKey.count,
      'each object is unfinished or in the eviction order',
    );
    const replicas = new Set<Replica>(this.#setAside);
    let setAsideByteCount = 0;
    for (const replica of replicas) {
      assert(replica.object === null, 'what is set aside has no object');
      setAsideByteCount += replica.block.byteCount;
    }
    assert(setAsideByteCount === this.#setAsideByteCount, 'bytes set aside are counted');
    this.#byKey.checkInvariants();
    for (const object of this.#byKey.values()) {
      assert(this.#byKey.get(object.key) === object, 'an object has its key');
      assert(object.list !== null, 'an object is in a list');
      assert(object.replicas.length > 0, 'an object has a replica');
      assert(
        new Set(object.replicas.map(({ segment }) => segment)).size === object.replicas.length,
        'replicas lie in different segments',
      );
      assert(object.group?.members.has(object) !== false, 'a group knows its members');
      for (const replica of object.replicas) {
        assert(replica.object === object, 'a replica knows its object');
        assert(replica.block.byteCount === object.byteCount, 'a replica is as long as its object');
        replicas.add(replica);
      }
    }
    let heldCount = 0;
    for (const segment of this.#segments.all()) {
      for (const replica of segment.allocator.holders()) {
        assert(replicas.has(replica), 'each used block belongs to an object or is set aside');
        heldCount += 1;
      }
    }
    assert(heldCount === replicas.size, 'each replica has its block');
    for (const group of this.#groups.values()) assert(group.members.size > 0, 'no group is empty');
  }

  #await(object: StoredObject, nowMs: number): void {
    object.startedMs = nowMs;
    object.rankMs = nowMs;
    this.#unfinished.append(object);
  }

  #forget(object: StoredObject): void {
    this.#byKey.remove(object.key);
    if (this.isUnfinished(object)) this.#unfinished.remove(object);
    else this.order.remove(object);
    const { group } = object;
    if (group === null) return;
    group.members.delete(object);
    if (group.members.size === 0) this.#groups.delete(group.id);
  }

  #group(id: string): ObjectGroup | null {
    if (id === '') return null;
    let group = this.#groups.get(id);
    if (group === undefined) {
      group = { id, members: new Set(), leaseUntilMs: 0 };
      this.#groups.set(id, group);
    }
    return group;
  }
}
