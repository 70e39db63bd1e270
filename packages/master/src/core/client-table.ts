import { assert } from '@tsukimi/base';
import type { Uuid } from '@tsukimi/wire';
import type { MountedSegment } from './segment-table.ts';

/** Somebody who mounts segments or pings. Whoever does neither is unknown, and may still read and write. */
export interface Client {
  readonly id: Uuid;
  lastSeenMs: number;
  /** Whether it has told us all its segments since we know it; until then, Ping asks for them. */
  isRemounted: boolean;
  readonly segments: Set<MountedSegment>;
}

/** Who is alive. */
export class ClientTable {
  readonly #ttlMs: number;
  readonly #countMax: number;
  readonly #byId = new Map<Uuid, Client>();

  constructor(ttlMs: number, countMax: number) {
    this.#ttlMs = ttlMs;
    this.#countMax = countMax;
  }

  get count(): number {
    return this.#byId.size;
  }

  get(id: Uuid): Client | undefined {
    return this.#byId.get(id);
  }

  /** The client, now alive, known from here on; null when there are too many. */
  seen(id: Uuid, nowMs: number): Client | null {
    let client = this.#byId.get(id);
    if (client === undefined) {
      if (this.#byId.size >= this.#countMax) return null;
      client = { id, lastSeenMs: nowMs, isRemounted: false, segments: new Set() };
      this.#byId.set(id, client);
    }
    client.lastSeenMs = nowMs;
    return client;
  }

  /** A client that another process knew; taken for dead at `untilMs` unless it is heard before. */
  restore(id: Uuid, untilMs: number): Client {
    const known = this.#byId.get(id);
    if (known !== undefined) return known;
    const lastSeenMs = untilMs - this.#ttlMs;
    const client = { id, lastSeenMs, isRemounted: false, segments: new Set<MountedSegment>() };
    this.#byId.set(id, client);
    return client;
  }

  /** Takes out those not heard of for the time to live. */
  takeExpired(nowMs: number): Client[] {
    const expired = [...this.#byId.values()].filter(
      ({ lastSeenMs }) => nowMs - lastSeenMs > this.#ttlMs,
    );
    for (const { id } of expired) this.#byId.delete(id);
    return expired;
  }

  checkInvariants(segments: Iterable<MountedSegment>): void {
    let ownedCount = 0;
    for (const segment of segments) {
      assert(
        this.#byId.get(segment.owner)?.segments.has(segment) === true,
        'segments have an owner',
      );
      ownedCount += 1;
    }
    let knownCount = 0;
    for (const client of this.#byId.values()) knownCount += client.segments.size;
    assert(knownCount === ownedCount, 'clients know only mounted segments');
    assert(this.#byId.size <= this.#countMax, 'clients are not too many');
  }
}
