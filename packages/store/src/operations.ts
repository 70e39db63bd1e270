import { type Clock, Fault } from '@tsukimi/base';

/** What runs now, so that memory is given back only when nobody can touch it any more. */
export class Operations {
  readonly #clock: Clock;
  readonly #running = new Map<AbortController, Promise<unknown>>();
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
  run<T>(
    what: string,
    limitMs: number,
    caller: AbortSignal | undefined,
    act: (signal: AbortSignal) => Promise<T>,
  ): Promise<T | null> {
    if (this.#closed || caller?.aborted) return Promise.resolve(null);
    const controller = new AbortController();
    const follow = () => controller.abort(caller?.reason);
    const scheduled = this.#clock.schedule(limitMs, () =>
      controller.abort(new Fault('DEADLINE_PASSED', `${what} took longer than ${limitMs} ms`)),
    );
    caller?.addEventListener('abort', follow, { once: true });
    const work = act(controller.signal).finally(() => {
      scheduled.cancel();
      caller?.removeEventListener('abort', follow);
      this.#running.delete(controller);
    });
    this.#running.set(controller, work);
    return work;
  }

  /** Takes nothing new, waits for what runs, and cuts it short when `deadline` fires. */
  async close(deadline: AbortSignal): Promise<void> {
    this.#closed = true;
    const cut = () => {
      for (const controller of this.#running.keys()) {
        controller.abort(new Fault('CANCELLED', 'the store client is stopping'));
      }
    };
    if (deadline.aborted) cut();
    else deadline.addEventListener('abort', cut, { once: true });
    await Promise.allSettled(this.#running.values());
    deadline.removeEventListener('abort', cut);
  }
}
