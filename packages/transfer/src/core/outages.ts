import { assert, Fault } from '@tsukimi/base';

/** A failure that took less than this keeps nobody waiting. */
const slowMs = 100;
const pauseFirstMs = 500;
const pauseMaxMs = 4_000;
const outageCountMax = 1_024;

interface Outage {
  /** When the last failure was learnt that made the pause longer. */
  readonly markedMs: number;
  pauseMs: number;
  untilMs: number;
}

/**
 * Peers that take their time to fail. While one is marked, transfers to it are refused at once; when its pause is
 * over one transfer is let through to see, the others still are not.
 */
export class Outages {
  readonly #outages = new Map<string, Outage>();

  /** Null when a transfer to it may be tried. */
  refusal(endpoint: string, nowMs: number): Fault | null {
    if (this.#outages.size === 0) return null;
    const outage = this.#outages.get(endpoint);
    if (outage === undefined) return null;
    if (nowMs >= outage.untilMs) {
      outage.untilMs = nowMs + outage.pauseMs;
      return null;
    }
    const leftMs = Math.ceil(outage.untilMs - nowMs);
    const message = `${endpoint}: did not answer lately and is tried again in ${leftMs} ms`;
    return new Fault('PEER_UNREACHABLE', message);
  }

  failed(endpoint: string, sinceMs: number, nowMs: number): void {
    if (nowMs - sinceMs < slowMs) return;
    const known = this.#outages.get(endpoint);
    // Transfers that were under way together tell one thing, not several.
    if (known !== undefined && sinceMs < known.markedMs) return;
    const pauseMs = known === undefined ? pauseFirstMs : Math.min(pauseMaxMs, known.pauseMs * 2);
    const [oldest] = this.#outages.keys();
    if (known === undefined && this.#outages.size >= outageCountMax && oldest !== undefined) {
      this.#outages.delete(oldest);
    }
    this.#outages.set(endpoint, { markedMs: nowMs, pauseMs, untilMs: nowMs + pauseMs });
  }

  worked(endpoint: string): void {
    if (this.#outages.size > 0) this.#outages.delete(endpoint);
  }

  checkInvariants(): void {
    assert(this.#outages.size <= outageCountMax, 'outages are bounded');
    for (const { pauseMs } of this.#outages.values()) {
      assert(pauseMs >= pauseFirstMs && pauseMs <= pauseMaxMs, 'a pause is within its bounds');
    }
  }
}
