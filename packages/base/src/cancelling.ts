/**
 * What a wait must know to be ended early: so much of an `AbortSignal` that callers may pass theirs.
 * Listeners are for `abort` alone, are called once, and do not throw.
 */
export interface CancelSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
  addEventListener(type: 'abort', listener: () => void, options: { readonly once: true }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** A signal and its trigger in one, for what begins so often that an `AbortController` is dear. */
export class Cancelling implements CancelSignal {
  readonly #listeners = new Set<() => void>();
  aborted = false;
  reason: unknown = undefined;

  /** Only the first call counts. */
  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (!this.aborted) this.#listeners.add(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners.delete(listener);
  }
}
