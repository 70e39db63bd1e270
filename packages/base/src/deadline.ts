import { setMaxListeners } from 'node:events';
import type { CancelSignal } from './cancelling.ts';
import type { Clock } from './clock.ts';
import { Fault } from './fault.ts';

/** A signal that fires after `delayMs` or with its parent. `release` frees the timer; call it always. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  release(): void;
}

/** The reason of the signal is a `DEADLINE_PASSED` fault that names `what`. */
export function deadline(
  clock: Clock,
  delayMs: number,
  what: string,
  parent?: CancelSignal,
): Deadline {
  const controller = new AbortController();
  const follow = () => controller.abort(parent?.reason);
  const scheduled = clock.schedule(delayMs, () =>
    controller.abort(new Fault('DEADLINE_PASSED', `${what} took longer than ${delayMs} ms`)),
  );
  if (parent?.aborted) follow();
  else if (parent !== undefined) {
    // A caller's signal may be followed by many waits at once, all of which leave it when they end.
    if (parent instanceof AbortSignal) setMaxListeners(0, parent);
    parent.addEventListener('abort', follow, { once: true });
  }
  const release = () => {
    scheduled.cancel();
    parent?.removeEventListener('abort', follow);
  };
  return { signal: controller.signal, release, [Symbol.dispose]: release };
}

/** Gives up waiting when `signal` fires and rejects with its reason. The work itself goes on unless it listens too. */
export function orAborted<T>(work: Promise<T>, signal: CancelSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) {
      work.catch(() => {});
      abort();
      return;
    }
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
