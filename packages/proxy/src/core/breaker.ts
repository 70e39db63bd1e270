/** Failures in a row that open a breaker. */
const failureCountMax = 4;
const openMinMs = 1_000;
const openMaxMs = 30_000;
/** From here on it is open for `openMaxMs`. */
const openCountMax = Math.ceil(Math.log2(openMaxMs / openMinMs));

/**
 * Keeps requests from an instance whose probes are well and whose answers are not. Closed until
 * `failureCountMax` attempts in a row have failed, here or in another process of this proxy, or until it is
 * seen to hang; then open, each time in a row for twice as long; then half-open: one attempt is let
 * through, and decides. A well ended attempt closes it at any time.
 */
export class Breaker {
  #failureCount = 0;
  #openCount = 0;
  /** Infinite while closed. */
  #openUntilMs = Number.POSITIVE_INFINITY;
  #trialCount = 0;

  get closed(): boolean {
    return this.#openUntilMs === Number.POSITIVE_INFINITY;
  }

  /** When it becomes half-open, on the monotonic clock; infinite while closed. */
  get openUntilMs(): number {
    return this.#openUntilMs;
  }

  stateAt(nowMs: number): 'closed' | 'open' | 'half-open' {
    if (this.closed) return 'closed';
    return nowMs < this.#openUntilMs ? 'open' : 'half-open';
  }

  allows(nowMs: number): boolean {
    return this.closed || (nowMs >= this.#openUntilMs && this.#trialCount === 0);
  }

  began(): void {
    if (!this.closed) this.#trialCount += 1;
  }

  /** `abandoned`: it ended before the instance had shown anything. */
  ended(outcome: 'answered' | 'failed' | 'abandoned', nowMs: number): void {
    if (outcome === 'answered') {
      this.reset();
      return;
    }
    if (!this.closed) this.#trialCount = Math.max(0, this.#trialCount - 1);
    if (outcome === 'abandoned') return;
    this.#failureCount += 1;
    const opens = this.closed ? this.#failureCount >= failureCountMax : nowMs >= this.#openUntilMs;
    if (!opens) return;
    this.#openUntilMs = nowMs + Math.min(openMaxMs, openMinMs * 2 ** this.#openCount);
    this.#openCount += 1;
  }

  /** Attempts that others made have opened theirs. */
  openedElsewhere(untilMs: number): void {
    if (this.closed) this.#openUntilMs = untilMs;
  }

  /** The instance does not generate: one that still does not, after this, rests for as long as any may. */
  hangs(nowMs: number): void {
    this.#openUntilMs = nowMs + openMaxMs;
    this.#openCount = openCountMax;
  }

  reset(): void {
    this.#failureCount = 0;
    this.#openCount = 0;
    this.#openUntilMs = Number.POSITIVE_INFINITY;
    this.#trialCount = 0;
  }
}
