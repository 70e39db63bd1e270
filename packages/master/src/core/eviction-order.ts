import { assert } from '@tsukimi/base';
import { DueHeap } from './due-heap.ts';
import { ObjectList } from './object-list.ts';
import type { SoftPin, StoredObject } from './stored-object.ts';

/** Objects never read since they were written, by completion; and the others, by their last lease. */
interface Recency {
  readonly fresh: ObjectList;
  readonly leased: ObjectList;
}

/**
 * All complete objects, least recently leased first.
 *
 * Time only moves on, so the end of a list is always the right place for what was just leased or
 * written: no sorting, and a lease costs O(1). An object in `leased` ranks by the latest time its lease
 * may end, one in `fresh` by the time it came; the smaller rank of the two heads goes first.
 */
export class EvictionOrder {
  readonly #leaseTtlMs: number;
  readonly #plain: Recency = { fresh: new ObjectList(), leased: new ObjectList() };
  readonly #softPinned: Recency = { fresh: new ObjectList(), leased: new ObjectList() };
  readonly #hardPinned = new ObjectList();
  readonly #softPins = new DueHeap<SoftPin>();

  constructor(leaseTtlMs: number) {
    this.#leaseTtlMs = leaseTtlMs;
  }

  /** Objects that eviction may take one day. */
  get evictableCount(): number {
    const { fresh, leased } = this.#plain;
    return fresh.length + leased.length + this.softPinnedCount;
  }

  get softPinnedCount(): number {
    return this.#softPinned.fresh.length + this.#softPinned.leased.length;
  }

  get count(): number {
    return this.evictableCount + this.#hardPinned.length;
  }

  /** Takes in an object that was just completed. */
  add(object: StoredObject, nowMs: number): void {
    if (object.softPinTtlMs > 0 && !object.hardPin) {
      object.softPin = { object, dueMs: nowMs + object.softPinTtlMs, heapIndex: -1 };
      this.#softPins.insert(object.softPin);
    }
    this.#place(object, 'fresh', nowMs);
  }

  remove(object: StoredObject): void {
    object.list?.remove(object);
    if (object.softPin === null) return;
    this.#softPins.remove(object.softPin);
    object.softPin = null;
  }

  /** Moves an object behind all others because it was leased. */
  touch(object: StoredObject, nowMs: number): void {
    if (object.hardPin) return;
    object.list?.remove(object);
    this.#place(object, 'leased', nowMs + this.#leaseTtlMs);
  }

  /** The next to go, without a lease; null when there is none. */
  oldest(nowMs: number, which: 'plain' | 'soft-pinned'): StoredObject | null {
    this.#expireSoftPins(nowMs);
    const { fresh, leased } = which === 'plain' ? this.#plain : this.#softPinned;
    for (;;) {
      const object = firstOf(fresh.head, leased.head);
      if (object === null || object.rankMs > nowMs) return null;
      if (!object.isLeased(nowMs)) return object;
      // Leased through its group, or before it was written anew: it has not come up yet.
      this.touch(object, nowMs);
    }
  }

  checkInvariants(nowMs: number): void {
    for (const { fresh, leased } of [this.#plain, this.#softPinned]) {
      fresh.checkInvariants();
      leased.checkInvariants();
    }
    this.#hardPinned.checkInvariants();
    this.#softPins.checkInvariants();
    assert(this.#softPins.length === this.softPinnedCount, 'each soft pin has its object');
    for (const { object } of this.#softPins) {
      assert(
        object.list === this.#softPinned.fresh || object.list === this.#softPinned.leased,
        'a pinned object is listed as such',
      );
    }
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

  /** An object whose pin ended counts as new: it had no need to be read while it was safe. */
  #expireSoftPins(nowMs: number): void {
    for (;;) {
      const pin = this.#softPins.takeDue(nowMs);
      if (pin === null) return;
      pin.object.softPin = null;
      pin.object.list?.remove(pin.object);
      this.#place(pin.object, 'fresh', nowMs);
    }
  }
}

function firstOf(one: StoredObject | null, other: StoredObject | null): StoredObject | null {
  if (one === null) return other;
  if (other === null) return one;
  return one.rankMs <= other.rankMs ? one : other;
}
