import { assert } from '@tsukimi/base';

/** Something with a time at which it is due. */
export interface Due {
  dueMs: number;
  /** Where it stands in its heap; −1 when it is in none. Kept by the heap. */
  heapIndex: number;
}

/** A binary heap of things that become due, from which each can be taken out early. */
export class DueHeap<D extends Due> {
  readonly #entries: D[] = [];

  get length(): number {
    return this.#entries.length;
  }

  /** The entry that is due first; null when there is none. */
  get first(): D | null {
    return this.#entries[0] ?? null;
  }

  insert(entry: D): void {
    assert(entry.heapIndex === -1, 'an entry is in one heap at most');
    this.#entries.push(entry);
    this.#rise(entry, this.#entries.length - 1);
  }

  remove(entry: D): void {
    const index = entry.heapIndex;
    assert(this.#entries[index] === entry, 'a removed entry is in the heap');
    entry.heapIndex = -1;
    const last = this.#entries.pop() as D;
    if (last === entry) return;
    this.#sink(last, index);
    this.#rise(last, last.heapIndex);
  }

  /** Takes out the entry that is due first, if it is due by now. */
  takeDue(nowMs: number): D | null {
    const first = this.#entries[0];
    if (first === undefined || first.dueMs > nowMs) return null;
    this.remove(first);
    return first;
  }

  [Symbol.iterator](): IterableIterator<D> {
    return this.#entries.values();
  }

  checkInvariants(): void {
    for (const [index, entry] of this.#entries.entries()) {
      assert(entry.heapIndex === index, 'a due entry knows its place');
      const parent = this.#entries[(index - 1) >> 1];
      assert(index === 0 || (parent as D).dueMs <= entry.dueMs, 'the first due is on top');
    }
  }

  #rise(entry: D, from: number): void {
    let index = from;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#entries[parentIndex] as D;
      if (parent.dueMs <= entry.dueMs) break;
      this.#put(parent, index);
      index = parentIndex;
    }
    this.#put(entry, index);
  }

  #sink(entry: D, from: number): void {
    let index = from;
    for (;;) {
      let childIndex = 2 * index + 1;
      const right = this.#entries[childIndex + 1];
      let child = this.#entries[childIndex];
      if (child === undefined) break;
      if (right !== undefined && right.dueMs < child.dueMs) {
        child = right;
        childIndex += 1;
      }
      if (entry.dueMs <= child.dueMs) break;
      this.#put(child, index);
      index = childIndex;
    }
    this.#put(entry, index);
  }

  #put(entry: D, index: number): void {
    this.#entries[index] = entry;
    entry.heapIndex = index;
  }
}
