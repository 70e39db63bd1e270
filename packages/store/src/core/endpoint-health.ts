/** How long a failed transfer keeps an endpoint at the end of the line. As long as masters let one be silent. */
const suspicionMs = 10_000;
/** The endpoint heard of least recently is forgotten. */
const endpointCountMax = 1_024;

/** What transfers have taught about those who hold segments: whom to ask first, and whom last. */
export class EndpointHealth {
  /** When the last transfer failed, null when it worked; in the order of last word. */
  readonly #failedAtMs = new Map<string, number | null>();

  worked(endpoint: string): void {
    this.#note(endpoint, null);
  }

  failed(endpoint: string, nowMs: number): void {
    this.#note(endpoint, nowMs);
  }

  isSuspect(endpoint: string, nowMs: number): boolean {
    const failedAtMs = this.#failedAtMs.get(endpoint) ?? null;
    return failedAtMs !== null && nowMs - failedAtMs < suspicionMs;
  }

  hasSuspects(nowMs: number): boolean {
    for (const endpoint of this.#failedAtMs.keys()) {
      if (this.isSuspect(endpoint, nowMs)) return true;
    }
    return false;
  }

  /** Those whose last transfer worked, the latest first. */
  working(): string[] {
    return [...this.#failedAtMs]
      .filter(([, failedAtMs]) => failedAtMs === null)
      .map(([endpoint]) => endpoint)
      .toReversed();
  }

  #note(endpoint: string, failedAtMs: number | null): void {
    this.#failedAtMs.delete(endpoint);
    this.#failedAtMs.set(endpoint, failedAtMs);
    if (this.#failedAtMs.size <= endpointCountMax) return;
    const [oldest] = this.#failedAtMs.keys();
    if (oldest !== undefined) this.#failedAtMs.delete(oldest);
  }
}
