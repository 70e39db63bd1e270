import { ClientStatus, type Expected, type Segment, SegmentStatus, type Uuid } from '@tsukimi/wire';
import { done, failed } from './answers.ts';
import type { Client, ClientTable } from './client-table.ts';
import type { CoreOptions } from './core-options.ts';
import type { ObjectTable } from './object-table.ts';
import type { MountedSegment, SegmentTable } from './segment-table.ts';

export interface ExpiredClient {
  readonly id: Uuid;
  /** Of its segments, which are gone with it. */
  readonly segmentCount: number;
  /** The transfer engines that spoke for these segments. */
  readonly engineNames: readonly string[];
}

const addressMax = 2n ** 64n;

/** The rules of mounting: who is alive, what memory they lend, and what goes when they go. */
export class SegmentRules {
  readonly #options: CoreOptions;
  readonly #clients: ClientTable;
  readonly #segments: SegmentTable;
  readonly #objects: ObjectTable;

  constructor(
    options: CoreOptions,
    clients: ClientTable,
    segments: SegmentTable,
    objects: ObjectTable,
  ) {
    this.#options = options;
    this.#clients = clients;
    this.#segments = segments;
    this.#objects = objects;
  }

  /** The status that Ping answers. */
  ping(clientId: Uuid, nowMs: number): number {
    const client = this.#clients.seen(clientId, nowMs);
    return client?.isRemounted === true ? ClientStatus.OK : ClientStatus.NEED_REMOUNT;
  }

  mount(segment: Segment, clientId: Uuid, nowMs: number): Expected<undefined> {
    if (!isMountable(segment)) return failed('INVALID_PARAMS');
    this.#forgetUnlike(segment, clientId, nowMs);
    const present = this.#segments.get(segment.id);
    if (present !== undefined) {
      this.#segments.heard(present);
      return present.status === SegmentStatus.OK ? done : failed('UNAVAILABLE_IN_CURRENT_STATUS');
    }
    if (!this.#hasRoomFor([segment])) return failed('NO_AVAILABLE_HANDLE');
    const client = this.#clients.seen(clientId, nowMs);
    if (client === null) return failed('NO_AVAILABLE_HANDLE');
    this.#mount(segment, client);
    return done;
  }

  /** The client says which segments it has: all of them are mounted afterwards, or none. */
  remount(segments: readonly Segment[], clientId: Uuid, nowMs: number): Expected<undefined> {
    const missing = new Map<Uuid, Segment>();
    for (const segment of segments) {
      if (isMountable(segment)) this.#forgetUnlike(segment, clientId, nowMs);
      const present = this.#segments.get(segment.id);
      if (present === undefined) missing.set(segment.id, segment);
      else if (present.owner !== clientId || !isSame(present.descriptor, segment)) {
        return failed('INVALID_PARAMS');
      }
    }
    if (this.#clients.get(clientId)?.isRemounted === true) return done;
    for (const segment of missing.values()) {
      if (!isMountable(segment)) return failed('INTERNAL_ERROR');
    }
    if (!this.#hasRoomFor([...missing.values()])) return failed('NO_AVAILABLE_HANDLE');
    const client = this.#clients.seen(clientId, nowMs);
    if (client === null) return failed('NO_AVAILABLE_HANDLE');
    const named = new Set(segments.map(({ id }) => id));
    for (const segment of [...client.segments]) {
      if (named.has(segment.descriptor.id)) this.#segments.heard(segment);
      // What the client does not have any more is gone.
      else if (segment.isAway) this.#unmount(segment, nowMs);
    }
    for (const segment of missing.values()) {
      const mounted = this.#mount(segment, client);
      const { remountRestMs } = this.#options;
      if (remountRestMs > 0) this.#segments.restUntil(mounted, nowMs + remountRestMs);
    }
    client.isRemounted = true;
    return done;
  }

  /** What another process had under this id was other memory: what lay there is gone. */
  #forgetUnlike(segment: Segment, clientId: Uuid, nowMs: number): void {
    const present = this.#segments.get(segment.id);
    if (present?.isAway !== true) return;
    if (present.owner === clientId && isSame(present.descriptor, segment)) return;
    this.#unmount(present, nowMs);
  }

  /** Gives the owner if it has nothing mounted any more: null otherwise. Unknown segments are no error. */
  unmount(segmentId: Uuid, nowMs: number): Uuid | null {
    const segment = this.#segments.get(segmentId);
    if (segment === undefined) return null;
    this.#unmount(segment, nowMs);
    const owner = this.#clients.get(segment.owner);
    return owner === undefined || owner.segments.size === 0 ? segment.owner : null;
  }

  unmountGracefully(
    segmentId: Uuid,
    clientId: Uuid,
    graceMs: number,
    nowMs: number,
  ): Expected<undefined> {
    const client = this.#clients.get(clientId);
    if (client === undefined || client.segments.size === 0) return failed('SEGMENT_NOT_FOUND');
    const segment = this.#segments.get(segmentId);
    if (segment === undefined || segment.owner !== clientId) return failed('INVALID_PARAMS');
    this.#segments.closeUntil(segment, nowMs + graceMs);
    return done;
  }

  /** Unmounts what had its grace period; gives how many segments that were. */
  unmountDue(nowMs: number): number {
    let count = 0;
    for (;;) {
      const segment = this.#segments.takeUnmounted(nowMs);
      if (segment === null) return count;
      this.#unmount(segment, nowMs);
      count += 1;
    }
  }

  /** Suspects the clients that fell silent, and in the end forgets them with all their segments. */
  expire(nowMs: number): ExpiredClient[] {
    const expired = this.#clients.takeExpired(nowMs).map(({ id, segments }) => {
      for (const segment of segments) this.#unmount(segment, nowMs);
      const engineNames = new Set([...segments].map(({ descriptor }) => descriptor.teEndpoint));
      return { id, segmentCount: segments.size, engineNames: [...engineNames] };
    });
    this.#clients.watch(nowMs);
    return expired;
  }

  /** Somebody could not reach the memory of a client. */
  report(reporter: Uuid, owner: Uuid, nowMs: number): void {
    const client = this.#clients.get(owner);
    if (client !== undefined && owner !== reporter) this.#clients.report(client, nowMs);
  }

  reportEndpoints(reporter: Uuid, endpoints: readonly string[], nowMs: number): void {
    for (const { descriptor, owner } of this.#segments.all()) {
      if (endpoints.includes(descriptor.teEndpoint)) this.report(reporter, owner, nowMs);
    }
  }

  status(segment: MountedSegment | undefined): Expected<number> {
    return segment === undefined ? failed('SEGMENT_NOT_FOUND') : { ok: segment.status };
  }

  #hasRoomFor(segments: readonly Segment[]): boolean {
    if (this.#segments.count + segments.length > this.#options.segmentCountMax) return false;
    return this.#segments.canCount(segments.reduce((sum, { size }) => sum + size, 0));
  }

  #mount(segment: Segment, client: Client): MountedSegment {
    const mounted = this.#segments.mount(segment, client.id);
    client.segments.add(mounted);
    this.#segments.trust(mounted, client.isSuspect);
    return mounted;
  }

  #unmount(segment: MountedSegment, nowMs: number): void {
    this.#clients.get(segment.owner)?.segments.delete(segment);
    for (const replica of this.#segments.unmount(segment)) this.#objects.lose(replica, nowMs);
  }
}

function isMountable({ base, size }: Segment): boolean {
  return base > 0n && size > 0 && base + BigInt(size) <= addressMax;
}

function isSame(one: Segment, other: Segment): boolean {
  return (
    one.name === other.name &&
    one.base === other.base &&
    one.size === other.size &&
    one.teEndpoint === other.teEndpoint &&
    one.protocol === other.protocol &&
    one.hostId === other.hostId
  );
}
