import { assert } from '@tsukimi/base';

/** Keeps native memory alive while a call on another thread uses it, and lets nothing use it after. */
export class UseGuard {
  readonly #what: string;
  #state: 'open' | 'in use' | 'closing' | 'closed' = 'open';
  #call: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | null = null;

  constructor(what: string) {
    this.#what = what;
  }

  /** Before a call on this thread. */
  check(): void {
    assert(this.#state === 'open', `${this.#what} is open and idle, not ${this.#state}`);
  }

  /** Around a call on another thread. */
  async use<T>(call: () => Promise<T>): Promise<T> {
    this.check();
    this.#state = 'in use';
    const running = call();
    this.#call = running.catch(() => {});
    try {
      return await running;
    } finally {
      if (this.#state === 'in use') this.#state = 'open';
    }
  }

  /** Calls `free` once nothing is in flight; the same promise for every caller. */
  close(free: () => void): Promise<void> {
    this.#closed ??= this.#close(free);
    return this.#closed;
  }

  async #close(free: () => void): Promise<void> {
    this.#state = 'closing';
    await this.#call;
    this.#state = 'closed';
    free();
  }
}
