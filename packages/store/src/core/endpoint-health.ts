/** How long a failed transfer keeps an endpoint at the end of the line. As long as masters let one be silent. */
const suspicionMs = 10_000;
/** What a master is told with one call; the rest is told with the next. */
const reportCountMax = 8;
/** A longer name is no address that a master could know. */
const reportLengthMax = 64;
/** The endpoint heard of least recently is forgotten. */
const endpointCountMax = 1_024;

/** What transfers have taught about those who hold segments: whom to ask first, and whom last. */
export class EndpointHealth {
  /** When the last transfer failed, null when it worked; in the order in which that was learnt. */
  readonly #failedAtMs = new Map<string, number | null>();
  /** Endpoints that failed and that no master has been told of. */
  readonly #untold = new Set<string>();

  worked(endpoint: string): void {
    // Nothing new, most of the time.
    if (this.#failedAtMs.get(endpoint) === null) return;
    this.#note(endpoint, null);
    this.#untold.delete(endpoint);
  }

  failed(endpoint: string, nowMs: number): void {
    this.#note(endpoint, nowMs);
    if (endpoint.length <= reportLengthMax) this.#untold.add(endpoint);
  }

  isSuspect(endpoint: string, nowMs: number): boolean {
    const failedAtMs = this.#failedAtMs.get(endpoint) ?? null;
    return failedAtMs !== null && nowMs - failedAtMs < suspicionMs;
  }

  /** Endpoints that failed since they were last taken: what a master wants to know. */
  takeFailed(): string[] {
    if (this.#untold.size === 0) return [];
    const taken = [...this.#untold].slice(0, reportCountMax);
    for (const endpoint of taken) this.#untold.delete(endpoint);
    return taken;
  }

  hasSuspects(nowMs: number): boolean {
    for (const endpoint of this.#failedAtMs.keys()) {
      if (this.isSuspect(endpoint, nowMs)) return true;
    }
    return false;
  }

  /** Those whose last transfer worked, who recovered last first. */
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
    if (oldest === undefined) return;
    this.#failedAtMs.delete(oldest);
    this.#untold.delete(oldest);
  }
}
