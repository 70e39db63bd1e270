/** What was observed weighs half as much after this. */
const halfLifeMs = 30_000;

/**
 * Milliseconds for a token, from work that was observed: all time over all tokens, of which those weigh less
 * that were older when the last ones came. It begins with a prior, so it is never undefined. The prior may be
 * an estimate itself: of one instance, that of all.
 */
export class SpeedEstimate {
  readonly #prior: { readonly msPerToken: number };
  readonly #priorTokenCount: number;
  #ms = 0;
  #tokenCount = 0;
  #atMs = 0;

  /** The prior counts as if so many tokens had been observed. Both above 0. */
  constructor(prior: { readonly msPerToken: number }, priorTokenCount: number) {
    this.#prior = prior;
    this.#priorTokenCount = priorTokenCount;
  }

  get msPerToken(): number {
    const priorMs = this.#prior.msPerToken * this.#priorTokenCount;
    return (priorMs + this.#ms) / (this.#priorTokenCount + this.#tokenCount);
  }

  /** Counts for nothing unless both are finite and above 0. */
  observe(elapsedMs: number, tokenCount: number, nowMs: number): void {
    if (!(elapsedMs > 0 && tokenCount > 0 && Number.isFinite(elapsedMs + tokenCount))) return;
    this.#decay(nowMs);
    this.#ms += elapsedMs;
    this.#tokenCount += tokenCount;
  }

  #decay(nowMs: number): void {
    const passedMs = nowMs - this.#atMs;
    if (!(passedMs > 0)) return;
    const factor = 2 ** (-passedMs / halfLifeMs);
    this.#ms *= factor;
    this.#tokenCount *= factor;
    this.#atMs = nowMs;
  }

  forget(): void {
    this.#ms = 0;
    this.#tokenCount = 0;
  }
}
