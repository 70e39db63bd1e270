import type { CoreOptions } from './core-options.ts';
import type { Counters } from './counters.ts';
import type { ObjectTable } from './object-table.ts';
import type { Offloader } from './offloader.ts';
import { isEvictable } from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';
import type { Tenant } from './tenant-table.ts';

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
  readonly #offloader: Offloader;
  readonly #counters: Counters;
  #isRequested = false;
  /** What is left of a round that took more than one step. */
  #goal = 0;
  #softPinnedGoal = 0;
  /** Objects that this round sent to disks. */
  #offloadedCount = 0;

  constructor(
    options: CoreOptions,
    segments: SegmentTable,
    objects: ObjectTable,
    offloader: Offloader,
    counters: Counters,
  ) {
    this.#options = options;
    this.#segments = segments;
    this.#objects = objects;
    this.#offloader = offloader;
    this.#counters = counters;
  }

  /** Whether `step` would try to evict something. */
  get isDue(): boolean {
    return this.#isRequested || this.#goal > 0 || this.#overshoot() > 0;
  }

  /** A write found no room: the next step frees some whatever the watermark says. */
  request(): void {
    const { capacityByteCount } = this.#segments;
    const enoughByteCount = capacityByteCount * this.#options.evictionRatio;
    this.#isRequested =
      this.#offloader.leavingByteCount === 0 || this.#offloader.leavingByteCount < enoughByteCount;
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

  /** Evicts from one tenant, what came first, until so many bytes are free; gives how many are. */
  makeRoomIn(tenant: Tenant, byteCount: number, nowMs: number): number {
    const before = tenant.chargedByteCount;
    const passes = this.#options.evictSoftPinned
      ? (['plain', 'soft-pinned'] as const)
      : (['plain'] as const);
    for (const which of passes) {
      for (const object of tenant.objects.values()) {
        if (before - tenant.chargedByteCount >= byteCount) break;
        this.#evictWithGroup(object, which, nowMs);
      }
    }
    return before - tenant.chargedByteCount;
  }

  #beginRound(): void {
    const overshoot = Math.max(0, this.#overshoot());
    const target = this.#options.evictionRatio + overshoot;
    const base = this.#objects.order.evictableCount;
    this.#goal = Math.ceil(base * target);
    this.#softPinnedGoal = Math.ceil(base * Math.max(target / 2, overshoot));
    this.#isRequested = false;
    this.#offloadedCount = 0;
  }

  /**
   * How far memory in use is above the watermark, as a part of all memory. What is on its way to a disk
   * because it is to be evicted counts as free: more of it would not help.
   */
  #overshoot(): number {
    const { capacityByteCount, usedByteCount } = this.#segments;
    if (capacityByteCount === 0) return 0;
    const stayingByteCount = usedByteCount - this.#offloader.leavingByteCount;
    return stayingByteCount / capacityByteCount - this.#options.evictionHighWatermark;
  }

  /** Gives how many objects went. Those that went to a disk instead count for the goal too. */
  #evict(which: 'plain' | 'soft-pinned', goal: number, nowMs: number): number {
    const offloadedBefore = this.#offloadedCount;
    let count = 0;
    for (let lookCount = 0; lookCount < stepCountMax; lookCount += 1) {
      if (count + this.#offloadedCount - offloadedBefore >= goal) break;
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

  /** What an object has in memory goes, to a disk first if it is to; true when something went. */
  #evictFrom(object: StoredObject, nowMs: number): boolean {
    if (this.#options.offloadOnEvict && !this.#mayGo(object, nowMs)) return false;
    const evicted = object.replicas.filter(isEvictable);
    if (evicted.length === 0) return false;
    this.#counters.evictedObjects += 1;
    this.#counters.evictedByteCount += object.byteCount * evicted.length;
    this.#objects.drop(object, evicted, nowMs);
    return true;
  }

  /** Whether memory that is not on its way to a disk may go at once. */
  #mayGo(object: StoredObject, nowMs: number): boolean {
    if (object.replicas.some(({ kind }) => kind === 'localDisk')) return true;
    // One copy is on its way: whatever else lies in memory is not needed for that.
    if (this.#offloader.has(object)) return true;
    const { offloadForceEvict, offloadingQueueLimit, offloadCapRatio } = this.#options;
    const isCapped = this.#offloadedCount >= Math.floor(offloadingQueueLimit * offloadCapRatio);
    if (offloadForceEvict && isCapped) return true;
    if (this.#offloader.offerBeforeEviction(object, nowMs)) {
      this.#offloadedCount += 1;
      return true;
    }
    if (!offloadForceEvict) this.#objects.order.postpone(object, nowMs);
    return offloadForceEvict;
  }
}
