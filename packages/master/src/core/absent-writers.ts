import type { Uuid } from '@tsukimi/wire';

/** More are forgotten, longest absent first: their writes then end by time, as those of the unknown do. */
const countMax = 16_384;

/**
 * Writers whose connections have all ended, for as long as they may come back. Most writers never
 * ping, so nothing else tells that one is dead.
 */
export class AbsentWriters {
  readonly #sinceMs = new Map<Uuid, number>();

  has(writer: Uuid): boolean {
    return this.#sinceMs.has(writer);
  }

  left(writer: Uuid, nowMs: number): void {
    this.#sinceMs.delete(writer);
    this.#sinceMs.set(writer, nowMs);
    if (this.#sinceMs.size <= countMax) return;
    for (const longest of this.#sinceMs.keys()) {
      this.#sinceMs.delete(longest);
      break;
    }
  }

  cameBack(writer: Uuid): void {
    this.#sinceMs.delete(writer);
  }

  /** Takes out those who have been away longer than `ttlMs`: most of them are dead. */
  takeLong(nowMs: number, ttlMs: number): Set<Uuid> {
    const away = new Set<Uuid>();
    for (const [writer, sinceMs] of this.#sinceMs) {
      if (nowMs - sinceMs <= ttlMs) break;
      away.add(writer);
    }
    for (const writer of away) this.#sinceMs.delete(writer);
    return away;
  }
}
