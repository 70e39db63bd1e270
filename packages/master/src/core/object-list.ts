import { assert } from '@tsukimi/base';
import type { StoredObject } from './stored-object.ts';

/** A doubly linked list through the objects themselves: adding and taking out is a few assignments. */
export class ObjectList {
  #head: StoredObject | null = null;
  #tail: StoredObject | null = null;
  #length = 0;

  get head(): StoredObject | null {
    return this.#head;
  }

  get length(): number {
    return this.#length;
  }

  append(object: StoredObject): void {
    assert(object.list === null, 'an object is in one list at most');
    object.list = this;
    object.previous = this.#tail;
    if (this.#tail === null) this.#head = object;
    else this.#tail.next = object;
    this.#tail = object;
    this.#length += 1;
  }

  /** Puts an object among those of its rank: for one that is older than the last. */
  insertByRank(object: StoredObject): void {
    let next = this.#head;
    while (next !== null && next.rankMs <= object.rankMs) next = next.next;
    if (next === null) {
      this.append(object);
      return;
    }
    assert(object.list === null, 'an object is in one list at most');
    object.list = this;
    object.next = next;
    object.previous = next.previous;
    if (next.previous === null) this.#head = object;
    else next.previous.next = object;
    next.previous = object;
    this.#length += 1;
  }

  remove(object: StoredObject): void {
    assert(object.list === this, 'a removed object is in the list');
    if (object.previous === null) this.#head = object.next;
    else object.previous.next = object.next;
    if (object.next === null) this.#tail = object.previous;
    else object.next.previous = object.previous;
    object.list = null;
    object.previous = null;
    object.next = null;
    this.#length -= 1;
  }

  *[Symbol.iterator](): IterableIterator<StoredObject> {
    for (let object = this.#head; object !== null; object = object.next) yield object;
  }

  checkInvariants(): void {
    let previous: StoredObject | null = null;
    let length = 0;
    for (const object of this) {
      assert(object.list === this && object.previous === previous, 'a list is linked both ways');
      assert(previous === null || previous.rankMs <= object.rankMs, 'a list is in order');
      previous = object;
      length += 1;
    }
    assert(this.#tail === previous && this.#length === length, 'a list knows its end and length');
  }
}
