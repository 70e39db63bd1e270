import { assert } from '@tsukimi/base';
import type { Uuid } from '@tsukimi/wire';
import type { MountedSegment } from './segment-table.ts';

/** Somebody who mounts segments or pings. Whoever does neither is unknown, and may still read and write. */
export interface Client {
  readonly id: Uuid;
  lastSeenMs: number;
  /** Whether it has told us all its segments since we know it; until then, Ping asks for them. */
  isRemounted: boolean;
  /** Whether it may be dead: until it is seen again, nobody is sent to its memory. */
  isSuspect: boolean;
  /** Whether somebody could not reach it since it was last seen. */
  isReported: boolean;
  readonly segments: Set<MountedSegment>;
}

export interface Liveness {
  /** So long may a client be silent and be taken for alive. */
  readonly clientTtlMs: number;
  /** So much longer is a client suspected before it is gone; 0: it is gone at once. */
  readonly clientSuspicionTtlMs: number;
  readonly clientCountMax: number;
}

/** Clients ping every second: one that has not for so long and is reported is suspected. */
const pingOverdueMs = 2_000;

/**
 * Who is alive. A client is suspected when its connections end, when others cannot reach it and its
 * ping is overdue, or when it falls silent; its next ping or mount clears it of all of these.
 */
export class ClientTable {
  readonly #liveness: Liveness;
  readonly #onTrustChanged: (client: Client) => void;
  readonly #byId = new Map<Uuid, Client>();
  #suspectCount = 0;
  #suspicionCount = 0;
  #recoveryCount = 0;

  /** `onTrustChanged` is called after a client became suspect, or was cleared. */
  constructor(liveness: Liveness, onTrustChanged: (client: Client) => void) {
    this.#liveness = liveness;
    this.#onTrustChanged = onTrustChanged;
  }

  get count(): number {
    return this.#byId.size;
  }

  get suspectCount(): number {
    return this.#suspectCount;
  }

  /** How often a client became suspect, and how often one was cleared. */
  get suspicionCounts(): { readonly begun: number; readonly cleared: number } {
    return { begun: this.#suspicionCount, cleared: this.#recoveryCount };
  }

  get(id: Uuid): Client | undefined {
    return this.#byId.get(id);
  }

  /** The client, now alive, known from here on; null when there are too many. */
  seen(id: Uuid, nowMs: number): Client | null {
    let client = this.#byId.get(id);
    if (client === undefined) {
      if (this.#byId.size >= this.#liveness.clientCountMax) return null;
      client = this.#add(id, nowMs);
    }
    client.lastSeenMs = nowMs;
    client.isReported = false;
    if (client.isSuspect) {
      client.isSuspect = false;
      this.#suspectCount -= 1;
      this.#recoveryCount += 1;
      this.#onTrustChanged(client);
    }
    return client;
  }

  /** A client that another process knew; taken for dead at `untilMs` unless it is heard before. */
  restore(id: Uuid, untilMs: number): Client {
    const known = this.#byId.get(id);
    if (known !== undefined) return known;
    const { clientTtlMs, clientSuspicionTtlMs } = this.#liveness;
    return this.#add(id, untilMs - clientTtlMs - clientSuspicionTtlMs);
  }

  /** The client may be dead. */
  suspect(client: Client): void {
    if (client.isSuspect) return;
    client.isSuspect = true;
    this.#suspectCount += 1;
    this.#suspicionCount += 1;
    this.#onTrustChanged(client);
  }

  /** Somebody could not reach the client; its ping may still prove him wrong. */
  report(client: Client, nowMs: number): void {
    client.isReported = true;
    if (nowMs - client.lastSeenMs > pingOverdueMs) this.suspect(client);
  }

  /** Suspects those whose time to live is over, or who are reported and overdue. */
  watch(nowMs: number): void {
    for (const client of this.#byId.values()) {
      const silentMs = nowMs - client.lastSeenMs;
      if (silentMs > (client.isReported ? pingOverdueMs : this.#liveness.clientTtlMs)) {
        this.suspect(client);
      }
    }
  }

  /** Takes out those not heard of for all the time they had. */
  takeExpired(nowMs: number): Client[] {
    const { clientTtlMs, clientSuspicionTtlMs } = this.#liveness;
    const expired = [...this.#byId.values()].filter(
      ({ lastSeenMs }) => nowMs - lastSeenMs > clientTtlMs + clientSuspicionTtlMs,
    );
    for (const { id, isSuspect } of expired) {
      this.#byId.delete(id);
      if (isSuspect) this.#suspectCount -= 1;
    }
    return expired;
  }

  checkInvariants(segments: Iterable<MountedSegment>): void {
    let ownedCount = 0;
    for (const segment of segments) {
      const owner = this.#byId.get(segment.owner);
      assert(owner?.segments.has(segment) === true, 'segments have an owner');
      assert(owner.isSuspect === segment.isSuspect, 'suspicion is of all segments of a client');
      ownedCount += 1;
    }
    let knownCount = 0;
    let suspectCount = 0;
    for (const client of this.#byId.values()) {
      knownCount += client.segments.size;
      if (client.isSuspect) suspectCount += 1;
    }
    assert(knownCount === ownedCount, 'clients know only mounted segments');
    assert(suspectCount === this.#suspectCount, 'suspects are counted');
    assert(this.#byId.size <= this.#liveness.clientCountMax, 'clients are not too many');
  }

  #add(id: Uuid, lastSeenMs: number): Client {
    const client: Client = {
      id,
      lastSeenMs,
      isRemounted: false,
      isSuspect: false,
      isReported: false,
      segments: new Set(),
    };
    this.#byId.set(id, client);
    return client;
  }
}
