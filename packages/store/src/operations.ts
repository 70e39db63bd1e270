import { Cancelling, type CancelSignal, type Clock, Fault } from '@tsukimi/base';

/** What runs now, so that memory is given back only when nobody can touch it any more. */
export class Operations {
  readonly #clock: Clock;
  readonly #running = new Set<Cancelling>();
  /** Told when nothing runs any more. */
  readonly #closing: (() => void)[] = [];
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /**
   * Runs `act` with a signal that fires after `limitMs`, with the caller's, or when this is cut.
   * Null without running it once closed; else what `act` resolves to.
   */
  async run<T>(
    what: string,
    limitMs: number,
    caller: CancelSignal | undefined,
    act: (signal: CancelSignal) => Promise<T>,
  ): Promise<T | null> {
    if (this.#closed || caller?.aborted) return null;
    const cancelling = new Cancelling();
    const follow = () => cancelling.abort(caller?.reason);
    const scheduled = this.#clock.schedule(limitMs, () =>
      cancelling.abort(new Fault('DEADLINE_PASSED', `${what} took longer than ${limitMs} ms`)),
    );
    caller?.addEventListener('abort', follow, { once: true });
    this.#running.add(cancelling);
    try {
      return await act(cancelling);
    } finally {
      scheduled.cancel();
      caller?.removeEventListener('abort', follow);
      this.#running.delete(cancelling);
      if (this.#running.size === 0) for (const tell of this.#closing.splice(0)) tell();
    }
  }

  /** Takes nothing new, waits for what runs, and cuts it short when `deadline` fires. */
  async close(deadline: AbortSignal): Promise<void> {
    this.#closed = true;
    const cut = () => {
      for (const cancelling of this.#running) {
        cancelling.abort(new Fault('CANCELLED', 'the store client is stopping'));
      }
    };
    if (deadline.aborted) cut();
    else deadline.addEventListener('abort', cut, { once: true });
    if (this.#running.size > 0) await new Promise<void>((tell) => this.#closing.push(tell));
    deadline.removeEventListener('abort', cut);
  }
}
