import { assert } from '@tsukimi/base';

/** Lets a bounded number of requests work at once, and a bounded number wait, first come first served. */
export class Admission {
  readonly #activeCountMax: number;
  readonly #queueLengthMax: number;
  /** In order of arrival; a `Set` so that those who leave early cost nothing. */
  readonly #queue = new Set<() => void>();
  #activeCount = 0;

  constructor(limits: { readonly activeCountMax: number; readonly queueLengthMax: number }) {
    this.#activeCountMax = limits.activeCountMax;
    this.#queueLengthMax = limits.queueLengthMax;
  }

  get activeCount(): number {
    return this.#activeCount;
  }

  get queueLength(): number {
    return this.#queue.size;
  }

  /** `begin` is called at once, or later when its turn comes; never after 'full'. */
  enter(begin: () => void): 'began' | 'queued' | 'full' {
    if (this.#activeCount < this.#activeCountMax) {
      this.#activeCount += 1;
      begin();
      return 'began';
    }
    if (this.#queue.size >= this.#queueLengthMax) return 'full';
    this.#queue.add(begin);
    return 'queued';
  }

  /** Takes back an `enter` that was queued. False when it has begun already. */
  withdraw(begin: () => void): boolean {
    return this.#queue.delete(begin);
  }

  /** Each that began leaves once. */
  leave(): void {
    this.#activeCount -= 1;
    for (const begin of this.#queue) {
      this.#queue.delete(begin);
      this.#activeCount += 1;
      begin();
      break;
    }
    this.checkInvariants();
  }

  checkInvariants(): void {
    assert(this.#activeCount >= 0, 'nobody leaves twice');
    assert(this.#activeCount <= this.#activeCountMax, 'no more work at once than allowed');
    assert(
      this.#queue.size === 0 || this.#activeCount === this.#activeCountMax,
      'nobody waits while there is room',
    );
  }
}
