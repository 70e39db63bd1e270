import { assert } from '@tsukimi/base';

/** Removed keys are dropped together, this many at most: that takes about 15 ms. */
const removedCountMax = 65_536;

/**
 * A map whose keys may come and go for ever.
 *
 * V8's Map leaves a removed entry in its hash chain until the whole table is rebuilt, so that a key
 * that is added and removed again and again makes every look-up of it slower: 0.4 ms with 200,000
 * other keys. Here a removed key keeps its entry, without a value, until many have gathered.
 */
export class KeyIndex<V extends object> {
  readonly #values = new Map<string, V | null>();
  /** Keys that were removed, in part added again since; one may stand here more than once. */
  #removed: string[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get(key: string): V | undefined {
    return this.#values.get(key) ?? undefined;
  }

  add(key: string, value: V): void {
    this.#values.set(key, value);
    this.#count += 1;
  }

  remove(key: string): void {
    assert(this.get(key) !== undefined, 'a removed key is there');
    this.#values.set(key, null);
    this.#count -= 1;
    this.#removed.push(key);
    const enough = Math.min(Math.max(1_024, this.#count / 4), removedCountMax);
    if (this.#removed.length > enough) this.#clean();
  }

  *keys(): IterableIterator<string> {
    for (const [key, value] of this.#values) if (value !== null) yield key;
  }

  *values(): IterableIterator<V> {
    for (const value of this.#values.values()) if (value !== null) yield value;
  }

  checkInvariants(): void {
    const removed = new Set(this.#removed);
    let count = 0;
    for (const [key, value] of this.#values) {
      if (value !== null) count += 1;
      else assert(removed.has(key), 'a key without a value is going to be dropped');
    }
    assert(count === this.#count, 'keys are counted');
  }

  #clean(): void {
    for (const key of this.#removed) {
      if (this.#values.get(key) === null) this.#values.delete(key);
    }
    this.#removed = [];
  }
}
