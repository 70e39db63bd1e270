import type { CoreOptions } from './core-options.ts';
import type { Counters } from './counters.ts';
import type { ObjectTable } from './object-table.ts';
import { isEvictable } from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';

/** One step never holds up the calls that wait behind it for longer than this many objects take. */
const stepCountMax = 4_096;
/** So many objects at most go to make room for a single write. */
const roomCountMax = 2_048;

/**
 * Decides when objects must go and which: those without a lease, least recently leased first, soft
 * pinned ones only when the others are not enough, hard pinned ones never.
 */
export class Evictor {
  readonly #options: CoreOptions;
  readonly #segments: SegmentTable;
  readonly #objects: ObjectTable;
  readonly #counters: Counters;
  #isRequested = false;
  /** What is left of a round that took more than one step. */
  #goal = 0;
  #softPinnedGoal = 0;

  constructor(
    options: CoreOptions,
    segments: SegmentTable,
    objects: ObjectTable,
    counters: Counters,
  ) {
    this.#options = options;
    this.#segments = segments;
    this.#objects = objects;
    this.#counters = counters;
  }

  /** Whether `step` would try to evict something. */
  get isDue(): boolean {
    return this.#isRequested || this.#goal > 0 || this.#overshoot() > 0;
  }

  /** A write found no room: the next step frees some whatever the watermark says. */
  request(): void {
    this.#isRequested = true;
  }

  /** One step of a round; gives how many objects went. */
  step(nowMs: number): number {
    if (!this.isDue) return 0;
    if (this.#goal === 0) this.#beginRound();
    this.#counters.evictionAttempts += 1;
    const goal = Math.min(this.#goal, stepCountMax);
    let count = this.#evict('plain', goal, nowMs);
    this.#goal = count < goal ? 0 : Math.max(0, this.#goal - count);
    this.#softPinnedGoal -= count;
    if (count < goal && this.#options.evictSoftPinned && this.#softPinnedGoal > 0) {
      count += this.#evict('soft-pinned', Math.min(this.#softPinnedGoal, stepCountMax), nowMs);
    }
    if (count > 0) this.#counters.evictionSuccesses += 1;
    return count;
  }

  /** Evicts a few objects, then twice as many, until `attempt` succeeds; null when it never does. */
  makeRoomFor<T>(nowMs: number, attempt: () => T | null): T | null {
    this.#counters.evictionAttempts += 1;
    let evictedCount = 0;
    for (let count = 1; evictedCount < roomCountMax; count *= 2) {
      let wentCount = this.#evict('plain', count, nowMs);
      if (wentCount === 0 && this.#options.evictSoftPinned) {
        wentCount = this.#evict('soft-pinned', count, nowMs);
      }
      if (wentCount === 0) return null;
      evictedCount += wentCount;
      const result = attempt();
      if (result === null) continue;
      this.#counters.evictionSuccesses += 1;
      return result;
    }
    return null;
  }

  #beginRound(): void {
    const overshoot = Math.max(0, this.#overshoot());
    const target = this.#options.evictionRatio + overshoot;
    const base = this.#objects.order.evictableCount;
    this.#goal = Math.ceil(base * target);
    this.#softPinnedGoal = Math.ceil(base * Math.max(target / 2, overshoot));
    this.#isRequested = false;
  }

  /** How far memory in use is above the watermark, as a part of all memory. */
  #overshoot(): number {
    const { capacityByteCount, usedByteCount } = this.#segments;
    if (capacityByteCount === 0) return 0;
    return usedByteCount / capacityByteCount - this.#options.evictionHighWatermark;
  }

  #evict(which: 'plain' | 'soft-pinned', goal: number, nowMs: number): number {
    let count = 0;
    while (count < goal) {
      const object = this.#objects.order.oldest(nowMs, which);
      if (object === null) break;
      count += this.#evictWithGroup(object, which, nowMs);
    }
    return count;
  }

  /** Members that are unfinished, leased anew or better pinned stay; the first always goes. */
  #evictWithGroup(first: StoredObject, which: 'plain' | 'soft-pinned', nowMs: number): number {
    const members = first.group === null ? [first] : [...first.group.members];
    let count = 0;
    for (const object of members) {
      if (this.#objects.isUnfinished(object) || object.hardPin || object.isLeased(nowMs)) continue;
      if (which === 'plain' && object.softPin !== null) continue;
      if (this.#evictFrom(object, nowMs)) count += 1;
    }
    return count;
  }

  /** What an object has in memory goes; where it lies elsewhere it can still be read. */
  #evictFrom(object: StoredObject, nowMs: number): boolean {
    const evicted = object.replicas.filter(isEvictable);
    if (evicted.length === 0) return false;
    this.#counters.evictedObjects += 1;
    this.#counters.evictedByteCount += object.byteCount * evicted.length;
    this.#objects.drop(object, evicted, nowMs);
    return true;
  }
}
