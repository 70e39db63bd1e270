import type { Clock } from '@tsukimi/base';
import type { ArgsOf, Expected, MasterProtocol, ResultOf, Uuid } from '@tsukimi/wire';
import { describeReplica, done, failed } from './answers.ts';
import type { ObjectTable } from './object-table.ts';
import type { MemoryReplica } from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';

/** Names a copy that the master asked for because of many reads; both parts come back in its calls. */
export interface ReplicationLease {
  readonly id: Uuid;
  readonly epoch: number;
}

/** A copy or a move of one object, between its start and its end. */
export interface Replication {
  readonly kind: 'copy' | 'move';
  readonly client: Uuid;
  readonly source: MemoryReplica;
  /** Empty where all targets had the object already. */
  readonly targets: readonly MemoryReplica[];
  readonly startedMs: number;
  readonly lease: ReplicationLease | null;
}

/** A copy that a client is asked for, until it begins. */
export interface ExpectedCopy {
  readonly object: StoredObject;
  readonly lease: ReplicationLease;
  readonly client: Uuid;
  /** Names of segments. */
  readonly from: string;
  readonly to: string;
  readonly untilMs: number;
}

/** Who calls, key and tenant. */
export type ReplicationCall = readonly [client: Uuid, key: string, tenant: string];

type CopyStarted = ResultOf<MasterProtocol['CopyStart']>;
type MoveStarted = ResultOf<MasterProtocol['MoveStart']>;

/**
 * The rules of copying and moving objects between segments, which clients do. While one is under way,
 * nobody removes, replaces or evicts its source. Checks are in the order in which Mooncake makes them.
 */
export class Replicator {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** How long bytes that a client may still be sending stay out of use. */
  readonly #restMs: number;
  readonly #segments: SegmentTable;
  readonly #objects: ObjectTable;
  /** Objects with a replication; those that are gone meanwhile leave with the next sweep. */
  readonly #running = new Set<StoredObject>();
  readonly #expected = new Map<StoredObject, ExpectedCopy>();

  /** A replication that does not end within `timeoutMs` is revoked. */
  constructor(
    clock: Clock,
    timeoutMs: number,
    restMs: number,
    segments: SegmentTable,
    objects: ObjectTable,
  ) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#restMs = restMs;
    this.#segments = segments;
    this.#objects = objects;
  }

  startCopy(...[client, key, tenant, from, to]: ArgsOf<MasterProtocol['CopyStart']>): CopyStarted {
    return this.#startCopy([client, key, tenant], from, to, null);
  }

  /** From here on, nobody copies or moves the object but the client that is asked to. */
  expect(copy: ExpectedCopy): void {
    this.#expected.set(copy.object, copy);
  }

  /** Begins a copy that this master asked for. */
  startLeasedCopy(
    ...[client, key, tenant, from, to, id, epoch]: ArgsOf<MasterProtocol['DynamicReplicaCopyStart']>
  ): CopyStarted {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (object.replication !== null) return failed('OBJECT_HAS_REPLICATION_TASK');
    const expected = this.#expectedOf(object);
    if (expected === null) return failed('UNAVAILABLE_IN_CURRENT_STATUS');
    const isOurs = expected.lease.id === id && expected.lease.epoch === epoch;
    const isUnchanged = epoch === Math.floor(object.startedMs);
    if (!isOurs || !isUnchanged) return failed('INVALID_VERSION');
    if (from !== expected.from || to.length !== 1 || to[0] !== expected.to) {
      return failed('OBJECT_HAS_REPLICATION_TASK');
    }
    if (client !== expected.client) return failed('ILLEGAL_CLIENT');
    this.#expected.delete(object);
    return this.#startCopy([client, key, tenant], from, to, expected.lease);
  }

  startMove(...[client, key, tenant, from, to]: ArgsOf<MasterProtocol['MoveStart']>): MoveStarted {
    if (from === to) return failed('INVALID_PARAMS');
    const started = this.#start('move', [client, key, tenant], from, [to], null);
    if ('error' in started) return started;
    const { source, targets } = started.ok;
    const target = targets[0] === undefined ? null : describeReplica(targets[0]);
    return { ok: { source: describeReplica(source), target } };
  }

  /** The targets are written: they can be read. */
  endCopy(call: ReplicationCall, lease: ReplicationLease | null = null): Expected<undefined> {
    const found = this.#find('copy', call, lease);
    if ('error' in found) return found;
    const { object, replication } = found;
    const { source, targets } = replication;
    if (source.object !== object) return this.#giveUp(object, replication);
    this.#finish(object, replication);
    const written = targets.filter((target) => target.object === object);
    for (const target of written) target.isComplete = true;
    this.#objects.changed(object, this.#clock.monotonicMs());
    return written.length === targets.length ? done : failed('REPLICA_IS_GONE');
  }

  /** The target is written: it can be read, and the source goes. Its bytes stay for those who read them. */
  endMove(...call: ReplicationCall): Expected<undefined> {
    const found = this.#find('move', call, null);
    if ('error' in found) return found;
    const { object, replication } = found;
    const { source, targets } = replication;
    const isWhole = [source, ...targets].every((replica) => replica.object === object);
    if (!isWhole) return this.#giveUp(object, replication);
    this.#finish(object, replication);
    for (const target of targets) target.isComplete = true;
    const nowMs = this.#clock.monotonicMs();
    this.#objects.dropLater(object, [source], nowMs + this.#timeoutMs, nowMs);
    return done;
  }

  revokeCopy(call: ReplicationCall, lease: ReplicationLease | null = null): Expected<undefined> {
    return this.#revoke('copy', call, lease);
  }

  revokeMove(...call: ReplicationCall): Expected<undefined> {
    return this.#revoke('move', call, null);
  }

  /** Revokes what the dead were at, and what had all its time. */
  sweep(dead: ReadonlySet<Uuid>): void {
    const nowMs = this.#clock.monotonicMs();
    for (const { object } of [...this.#expected.values()]) this.#expectedOf(object);
    for (const object of [...this.#running]) {
      const { replication } = object;
      const isGone = this.#objects.get(object.key, object.tenant.id) !== object;
      if (replication === null || isGone) this.#running.delete(object);
      else if (dead.has(replication.client) || nowMs - replication.startedMs >= this.#timeoutMs) {
        this.#giveUp(object, replication);
      }
    }
  }

  #startCopy(
    call: ReplicationCall,
    from: string,
    to: readonly string[],
    lease: ReplicationLease | null,
  ): CopyStarted {
    const started = this.#start('copy', call, from, to, lease);
    if ('error' in started) return started;
    const { source, targets } = started.ok;
    return { ok: { source: describeReplica(source), targets: targets.map(describeReplica) } };
  }

  #start(
    kind: Replication['kind'],
    [client, key, tenant]: ReplicationCall,
    from: string,
    to: readonly string[],
    lease: ReplicationLease | null,
  ): Expected<Replication> {
    for (const name of to) {
      if (this.#segments.named(name).length === 0) return failed('SEGMENT_NOT_FOUND');
      if (!this.#segments.isOpen(name)) return failed('UNAVAILABLE_IN_CURRENT_STATUS');
    }
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (object.replication !== null || (kind === 'copy' && this.#expectedOf(object) !== null)) {
      return failed('OBJECT_HAS_REPLICATION_TASK');
    }
    const source = replicaIn(object, from);
    if (source?.isComplete !== true) return failed('REPLICA_NOT_FOUND');
    if (object.trailing !== null) return failed('OBJECT_REPLICA_BUSY');
    const nowMs = this.#clock.monotonicMs();
    const targets: MemoryReplica[] = [];
    for (const name of new Set(to)) {
      if (replicaIn(object, name) !== undefined) continue;
      const target = this.#segments.allocateIn(name, object.byteCount);
      if (target === null) {
        for (const allocated of targets) this.#segments.release(allocated);
        return failed('NO_AVAILABLE_HANDLE');
      }
      targets.push(target);
    }
    const replication = { kind, client, source, targets, startedMs: nowMs, lease };
    object.replication = replication;
    source.busyCount += 1;
    this.#running.add(object);
    for (const target of targets) this.#objects.addReplica(object, target, nowMs);
    return { ok: replication };
  }

  /** Forgets it when nobody may begin it any more. */
  #expectedOf(object: StoredObject): ExpectedCopy | null {
    const expected = this.#expected.get(object);
    if (expected === undefined) return null;
    const isGone = this.#objects.get(object.key, object.tenant.id) !== object;
    if (!isGone && this.#clock.monotonicMs() < expected.untilMs) return expected;
    this.#expected.delete(object);
    return null;
  }

  #find(
    kind: Replication['kind'],
    [client, key, tenant]: ReplicationCall,
    lease: ReplicationLease | null,
  ):
    | { readonly error: number }
    | { readonly object: StoredObject; readonly replication: Replication } {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    const { replication } = object;
    if (replication === null) return failed('OBJECT_NO_REPLICATION_TASK');
    if (replication.client !== client) return failed('ILLEGAL_CLIENT');
    if (replication.kind !== kind) return failed('INVALID_PARAMS');
    const { id, epoch } = replication.lease ?? {};
    if (id !== lease?.id || epoch !== lease?.epoch) return failed('INVALID_VERSION');
    return { object, replication };
  }

  #revoke(
    kind: Replication['kind'],
    call: ReplicationCall,
    lease: ReplicationLease | null,
  ): Expected<undefined> {
    const found = this.#find(kind, call, lease);
    if ('error' in found) return found;
    this.#giveUp(found.object, found.replication);
    return done;
  }

  #giveUp(object: StoredObject, replication: Replication): { readonly error: number } {
    this.#finish(object, replication);
    const begun = replication.targets.filter((target) => target.object === object);
    const nowMs = this.#clock.monotonicMs();
    this.#objects.dropLater(object, begun, nowMs + this.#restMs, nowMs);
    return failed('REPLICA_IS_GONE');
  }

  #finish(object: StoredObject, { source }: Replication): void {
    object.replication = null;
    this.#running.delete(object);
    if (source.object !== object) return;
    source.busyCount -= 1;
    this.#objects.changed(object, this.#clock.monotonicMs());
  }
}

function replicaIn(object: StoredObject, segmentName: string): MemoryReplica | undefined {
  return object.replicas.find(
    (replica): replica is MemoryReplica =>
      replica.kind === 'memory' && replica.segment.descriptor.name === segmentName,
  );
}
