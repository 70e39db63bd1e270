const delayMinMs = 50;

/**
 * When to ask again for room. A master that finds none evicts some of what it has, also where that cannot
 * help, so the times between attempts double without a limit: a few attempts in all.
 */
export class RoomWaits {
  readonly #waits = new Map<number, { readonly atMs: number; readonly delayMs: number }>();

  /** There was no room for this one. */
  wait(index: number, nowMs: number): void {
    const delayMs = (this.#waits.get(index)?.delayMs ?? delayMinMs / 2) * 2;
    this.#waits.set(index, { atMs: nowMs + delayMs, delayMs });
  }

  /** Whether it should be tried now. What never lacked room always should. */
  isDue(index: number, nowMs: number): boolean {
    return (this.#waits.get(index)?.atMs ?? 0) <= nowMs;
  }

  /** Until the first of these is due; null when one of them does not wait for room. */
  delayMs(indices: Iterable<number>, nowMs: number): number | null {
    let firstAtMs = Number.POSITIVE_INFINITY;
    for (const index of indices) {
      const wait = this.#waits.get(index);
      if (wait === undefined) return null;
      firstAtMs = Math.min(firstAtMs, wait.atMs);
    }
    return Math.max(0, firstAtMs - nowMs);
  }
}
