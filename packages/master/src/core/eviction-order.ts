import { assert } from '@tsukimi/base';
import { DueHeap } from './due-heap.ts';
import { ObjectList } from './object-list.ts';
import { isEvictable } from './replica.ts';
import type { SoftPin, StoredObject } from './stored-object.ts';

/**
 * Objects whose turn had come when they could not go; objects never read since they were written, by
 * completion; and the others, by their last lease.
 */
interface Recency {
  readonly next: ObjectList;
  readonly fresh: ObjectList;
  readonly leased: ObjectList;
}

/**
 * All objects that can be read, least recently leased first.
 *
 * Time only moves on, so the end of a list is always the right place for what was just leased or
 * written: no sorting, and a lease costs O(1). An object in `leased` ranks by the latest time its lease
 * may end, one in `fresh` by the time it came; the smaller rank of the heads goes first. Objects without
 * memory that could be evicted rest; one whose memory is merely busy is found out when its turn comes,
 * and is next as soon as it is idle.
 */
export class EvictionOrder {
  readonly #leaseTtlMs: number;
  readonly #plain = recency();
  readonly #softPinned = recency();
  readonly resting = new ObjectList();
  readonly #hardPinned = new ObjectList();
  readonly #softPins = new DueHeap<SoftPin>();

  constructor(leaseTtlMs: number) {
    this.#leaseTtlMs = leaseTtlMs;
  }

  /** Objects that eviction may take one day. */
  get evictableCount(): number {
    return lengthOf(this.#plain) + lengthOf(this.#softPinned);
  }

  get softPinnedCount(): number {
    return this.#softPins.length;
  }

  get count(): number {
    return this.evictableCount + this.#hardPinned.length + this.resting.length;
  }

  /** Takes in an object that can be read from now on. */
  add(object: StoredObject, nowMs: number): void {
    if (object.softPinTtlMs > 0 && !object.hardPin) {
      object.softPin = { object, dueMs: nowMs + object.softPinTtlMs, heapIndex: -1 };
      this.#softPins.insert(object.softPin);
    }
    if (object.hardPin || hasMemory(object)) this.#place(object, 'fresh', nowMs);
    else this.#rest(object, nowMs);
  }

  remove(object: StoredObject): void {
    object.list?.remove(object);
    if (object.softPin === null) return;
    this.#softPins.remove(object.softPin);
    object.softPin = null;
  }

  /** An object in the order got or lost replicas, or some became busy or idle. */
  changed(object: StoredObject, nowMs: number): void {
    if (object.hardPin) return;
    if (object.list !== this.resting) {
      if (!hasMemory(object)) this.#rest(object, nowMs);
    } else if (object.replicas.some(isEvictable)) {
      this.resting.remove(object);
      const wasLeased = object.leaseUntilMs > object.rankMs + this.#leaseTtlMs;
      if (wasLeased) this.#place(object, 'leased', nowMs + this.#leaseTtlMs);
      else this.#place(object, 'next', 0);
    }
  }

  /** Moves an object behind all others because it was leased. */
  touch(object: StoredObject, nowMs: number): void {
    if (object.hardPin || object.list === this.resting) return;
    object.list?.remove(object);
    this.#place(object, 'leased', nowMs + this.#leaseTtlMs);
  }

  /** Moves an object that cannot go behind all others. */
  postpone(object: StoredObject, nowMs: number): void {
    object.list?.remove(object);
    this.#place(object, 'fresh', nowMs);
  }

  /** The next to go, without a lease; null when there is none. */
  oldest(nowMs: number, which: 'plain' | 'soft-pinned'): StoredObject | null {
    this.#expireSoftPins(nowMs);
    const { next, fresh, leased } = which === 'plain' ? this.#plain : this.#softPinned;
    for (;;) {
      const object = next.head ?? firstOf(fresh.head, leased.head);
      if (object === null || object.rankMs > nowMs) return null;
      // Leased through its group, or before it was written anew: it has not come up yet.
      if (object.isLeased(nowMs)) this.touch(object, nowMs);
      else if (object.replicas.some(isEvictable)) return object;
      else this.#rest(object, nowMs);
    }
  }

  checkInvariants(nowMs: number): void {
    for (const { next, fresh, leased } of [this.#plain, this.#softPinned]) {
      next.checkInvariants();
      fresh.checkInvariants();
      leased.checkInvariants();
    }
    this.#hardPinned.checkInvariants();
    this.resting.checkInvariants();
    this.#softPins.checkInvariants();
    const pinnedLists = Object.values(this.#softPinned);
    let listedCount = lengthOf(this.#softPinned);
    for (const { object } of this.#softPins) {
      if (object.list === this.resting) listedCount += 1;
      else assert(pinnedLists.includes(object.list), 'a pinned object is listed as such');
    }
    assert(this.#softPins.length === listedCount, 'each soft pin has its object');
    for (const object of this.#plain.leased) {
      assert(object.leaseUntilMs <= object.rankMs, 'no object ranks before its lease ends');
      assert(object.rankMs <= nowMs + this.#leaseTtlMs, 'no object ranks after a new lease');
    }
  }

  #place(object: StoredObject, recency: keyof Recency, rankMs: number): void {
    object.rankMs = rankMs;
    if (object.hardPin) this.#hardPinned.append(object);
    else (object.softPin === null ? this.#plain : this.#softPinned)[recency].append(object);
  }

  #rest(object: StoredObject, nowMs: number): void {
    object.list?.remove(object);
    object.rankMs = nowMs;
    this.resting.append(object);
  }

  /** An object whose pin ended counts as new: it had no need to be read while it was safe. */
  #expireSoftPins(nowMs: number): void {
    for (;;) {
      const pin = this.#softPins.takeDue(nowMs);
      if (pin === null) return;
      pin.object.softPin = null;
      if (pin.object.list === this.resting) continue;
      pin.object.list?.remove(pin.object);
      this.#place(pin.object, 'fresh', nowMs);
    }
  }
}

function recency(): Recency {
  return { next: new ObjectList(), fresh: new ObjectList(), leased: new ObjectList() };
}

function lengthOf({ next, fresh, leased }: Recency): number {
  return next.length + fresh.length + leased.length;
}

function hasMemory({ replicas }: StoredObject): boolean {
  for (const { kind } of replicas) if (kind === 'memory') return true;
  return false;
}

function firstOf(one: StoredObject | null, other: StoredObject | null): StoredObject | null {
  if (one === null) return other;
  if (other === null) return one;
  return one.rankMs <= other.rankMs ? one : other;
}
