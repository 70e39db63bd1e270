import { assert } from '@tsukimi/base';

type Settled =
  | { readonly kind: 'open' }
  | { readonly kind: 'ended' }
  | { readonly kind: 'failed'; readonly error: unknown };

/** Events from the step loop to one consumer. `onAbandoned` is told when the consumer stops before the end. */
export class EventQueue<T> implements AsyncIterableIterator<T> {
  readonly #countMax: number;
  readonly #onAbandoned: () => void;
  #events: T[] = [];
  #state: Settled = { kind: 'open' };
  #wake: (() => void) | null = null;

  constructor(countMax: number, onAbandoned: () => void) {
    this.#countMax = countMax;
    this.#onAbandoned = onAbandoned;
  }

  push(event: T): void {
    if (this.#state.kind !== 'open') return;
    assert(this.#events.length < this.#countMax, 'a generation has no more events than tokens');
    this.#events.push(event);
    this.#notify();
  }

  end(): void {
    this.#settle({ kind: 'ended' });
  }

  fail(error: unknown): void {
    this.#settle({ kind: 'failed', error });
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      const event = this.#events.shift();
      if (event !== undefined) return { done: false, value: event };
      if (this.#state.kind === 'ended') return { done: true, value: undefined };
      if (this.#state.kind === 'failed') {
        const { error } = this.#state;
        this.#state = { kind: 'ended' };
        throw error;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async return(): Promise<IteratorResult<T>> {
    if (this.#state.kind === 'open') this.#onAbandoned();
    this.#events = [];
    this.end();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #settle(state: Settled): void {
    if (this.#state.kind !== 'open') return;
    this.#state = state;
    this.#notify();
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = null;
  }
}
