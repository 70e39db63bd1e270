import { assert } from '@tsukimi/base';

/** Somebody who wants to work. Exactly one of its methods is called, unless it withdraws before. */
export interface Waiter {
  /** Its turn has come. */
  begin(): void;
  /** The queue is full, and its group holds most of it. */
  pushOut(): void;
}

/**
 * Lets a bounded number of requests work at once, and a bounded number wait. Groups (the clients'
 * keys) take turns, within a group it is first come first served; when the queue is full, the
 * longest group gives up its newest for a shorter one. So nobody waits behind another's crowd.
 */
export class Admission {
  readonly #activeCountMax: number;
  readonly #queueLengthMax: number;
  /** Groups in the order of their turns; sets so that those who leave early cost nothing. */
  readonly #groups = new Map<string, Set<Waiter>>();
  #queueLength = 0;
  #activeCount = 0;
  /** Somebody's turn is being given away, further up the stack. */
  #handsOn = false;

  constructor(limits: { readonly activeCountMax: number; readonly queueLengthMax: number }) {
    this.#activeCountMax = limits.activeCountMax;
    this.#queueLengthMax = limits.queueLengthMax;
  }

  get activeCount(): number {
    return this.#activeCount;
  }

  get queueLength(): number {
    return this.#queueLength;
  }

  /** `begin` is called at once, or later when its turn comes; nothing is called after 'full'. */
  enter(group: string, waiter: Waiter): 'began' | 'queued' | 'full' {
    if (this.#activeCount < this.#activeCountMax) {
      this.#activeCount += 1;
      waiter.begin();
      return 'began';
    }
    if (this.#queueLength >= this.#queueLengthMax && !this.#makeRoom(group)) return 'full';
    let waiting = this.#groups.get(group);
    if (waiting === undefined) {
      waiting = new Set();
      this.#groups.set(group, waiting);
    }
    waiting.add(waiter);
    this.#queueLength += 1;
    return 'queued';
  }

  /** Takes back an `enter` that was queued. False when it has begun or was pushed out already. */
  withdraw(group: string, waiter: Waiter): boolean {
    const waiting = this.#groups.get(group);
    if (waiting === undefined || !waiting.delete(waiter)) return false;
    this.#queueLength -= 1;
    if (waiting.size === 0) this.#groups.delete(group);
    return true;
  }

  /** Each that began leaves once; whoever is next may do so before its `begin` has returned. */
  leave(): void {
    this.#activeCount -= 1;
    // A thousand that are refused one after another must not pile up on the stack.
    if (this.#handsOn) return;
    this.#handsOn = true;
    try {
      while (this.#activeCount < this.#activeCountMax) {
        const waiter = this.#takeNext();
        if (waiter === null) break;
        this.#activeCount += 1;
        waiter.begin();
      }
    } finally {
      this.#handsOn = false;
    }
    this.checkInvariants();
  }

  checkInvariants(): void {
    assert(this.#activeCount >= 0, 'nobody leaves twice');
    assert(this.#activeCount <= this.#activeCountMax, 'no more work at once than allowed');
    assert(
      this.#queueLength === 0 || this.#activeCount === this.#activeCountMax,
      'nobody waits while there is room',
    );
    assert(this.#queueLength <= this.#queueLengthMax, 'the queue is bounded');
  }

  #takeNext(): Waiter | null {
    const [next] = this.#groups;
    if (next === undefined) return null;
    const [group, waiting] = next;
    const [waiter] = waiting as Iterable<Waiter> as [Waiter];
    waiting.delete(waiter);
    this.#queueLength -= 1;
    // To the end of the line of groups, if it has more.
    this.#groups.delete(group);
    if (waiting.size > 0) this.#groups.set(group, waiting);
    return waiter;
  }

  /** Pushes out the newest of the longest group, if `group` holds less than that without it. */
  #makeRoom(group: string): boolean {
    let longest: Set<Waiter> | null = null;
    for (const waiting of this.#groups.values()) {
      if (longest === null || waiting.size > longest.size) longest = waiting;
    }
    const ownSize = this.#groups.get(group)?.size ?? 0;
    if (longest === null || longest.size <= ownSize + 1) return false;
    let newest: Waiter | null = null;
    for (const waiter of longest) newest = waiter;
    assert(newest !== null, 'a group in the queue waits for something');
    longest.delete(newest);
    this.#queueLength -= 1;
    newest.pushOut();
    return true;
  }
}
