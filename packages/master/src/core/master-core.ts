import { assert, type Clock, type Random } from '@tsukimi/base';
import type {
  Expected,
  GetReplicaListResponse,
  ReplicaDescriptor,
  ReplicateConfig,
  Segment,
  Uuid,
} from '@tsukimi/wire';
import { AbsentWriters } from './absent-writers.ts';
import { done } from './answers.ts';
import type { ChangeLog, CoreImage } from './change-log.ts';
import { type Client, ClientTable } from './client-table.ts';
import { abandonedRestMs, type CoreOptions } from './core-options.ts';
import { Counters } from './counters.ts';
import { DrainJobs } from './drain-jobs.ts';
import { Evictor } from './evictor.ts';
import { HotObjects } from './hot-objects.ts';
import { LocalDiskCalls } from './local-disk-calls.ts';
import { LocalDiskTable } from './local-disk-table.ts';
import { ObjectReader } from './object-reader.ts';
import { ObjectRemover } from './object-remover.ts';
import { ObjectTable } from './object-table.ts';
import { type KeyMatcher, ObjectWalker } from './object-walker.ts';
import { ObjectWriter } from './object-writer.ts';
import { Offloader } from './offloader.ts';
import { Promoter } from './promoter.ts';
import { Replicator } from './replicator.ts';
import { imageOfTables, restore } from './restore.ts';
import { type ExpiredClient, SegmentRules } from './segment-rules.ts';
import { SegmentTable } from './segment-table.ts';
import { type SegmentView, viewOf } from './segment-view.ts';
import { TaskRules } from './task-rules.ts';
import { TenantQuotas } from './tenant-quotas.ts';
import { defaultTenant } from './tenant-table.ts';
import type { BatchPlace } from './write-rules.ts';

export interface MasterCoreOptions extends CoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly matchKeys: KeyMatcher;
  /** Told of all that is to outlive this process; null: nothing is. */
  readonly changes: ChangeLog | null;
}

/** What a sweep found to do. */
export interface Sweep {
  readonly expiredClients: readonly ExpiredClient[];
  readonly reclaimedWriteCount: number;
  readonly unmountedSegmentCount: number;
}

const single: BatchPlace = { index: 0, count: 1 };

/**
 * The master's decisions, without I/O: which objects exist, where their copies lie, who may read,
 * write and remove them, and which must go. Answers are those of Mooncake's master, error numbers
 * included. Callers drive time: `sweep` about once a second, `evict` soon whenever `isEvictionDue`.
 */
export class MasterCore {
  readonly counters = new Counters();
  /** What clients say and ask about their own disks. */
  readonly localDisks: LocalDiskCalls;
  readonly replication: Replicator;
  readonly tasks: TaskRules;
  readonly drains: DrainJobs;
  /** How much each tenant may have; null when tenants are one. */
  readonly tenantQuotas: TenantQuotas | null;
  readonly #options: MasterCoreOptions;
  readonly #clock: Clock;
  readonly #clients: ClientTable;
  readonly #segments: SegmentTable;
  readonly #disks: LocalDiskTable;
  readonly #objects: ObjectTable;
  readonly #absent = new AbsentWriters();
  readonly #hot: HotObjects;
  readonly #reader: ObjectReader;
  readonly #offloader: Offloader;
  readonly #promoter: Promoter;
  readonly #evictor: Evictor;
  readonly #writer: ObjectWriter;
  readonly #remover: ObjectRemover;
  readonly #walker: ObjectWalker;
  readonly #segmentRules: SegmentRules;

  constructor(options: MasterCoreOptions) {
    this.#options = options;
    this.#clock = options.clock;
    const { changes } = options;
    this.#segments = new SegmentTable(options.allocationStrategy, options.random, changes);
    this.#disks = new LocalDiskTable(changes);
    this.#clients = new ClientTable(options, (client) => this.#trust(client));
    this.#objects = new ObjectTable(this.#segments, this.#disks, options, changes);
    const { tenants } = this.#objects;
    this.tenantQuotas = options.isMultiTenant ? new TenantQuotas(this.#segments, tenants) : null;
    this.#offloader = new Offloader(options, this.#disks, this.#objects);
    this.#promoter = new Promoter(
      options,
      this.#disks,
      this.#segments,
      this.#objects,
      this.counters,
    );
    this.#evictor = new Evictor(
      options,
      this.#segments,
      this.#objects,
      this.#offloader,
      this.counters,
    );
    this.replication = new Replicator(
      options.clock,
      options.putReleaseTimeoutMs,
      abandonedRestMs(options),
      this.#segments,
      this.#objects,
    );
    this.tasks = new TaskRules(options, this.#segments, this.#objects);
    this.#hot = new HotObjects(
      options,
      this.#segments,
      this.replication,
      this.tasks,
      this.counters,
    );
    this.#reader = new ObjectReader(options.leaseTtlMs, {
      segments: this.#segments,
      disks: this.#disks,
      objects: this.#objects,
      promoter: this.#promoter,
      hot: this.#hot,
      counters: this.counters,
    });
    this.localDisks = new LocalDiskCalls(
      options,
      this.#clients,
      this.#segments,
      this.#disks,
      this.#objects,
      this.#offloader,
      this.#promoter,
      this.tenantQuotas,
    );
    this.#segmentRules = new SegmentRules(options, this.#clients, this.#segments, this.#objects);
    this.#remover = new ObjectRemover(this.#objects);
    this.#walker = new ObjectWalker(options, {
      objects: this.#objects,
      reader: this.#reader,
      remover: this.#remover,
      disks: this.localDisks,
    });
    this.drains = new DrainJobs(options, this.#segments, this.tasks);
    this.#writer = new ObjectWriter(options, {
      mounts: this.#segmentRules,
      absent: this.#absent,
      segments: this.#segments,
      objects: this.#objects,
      reader: this.#reader,
      evictor: this.#evictor,
      offloader: this.#offloader,
      promoter: this.#promoter,
      counters: this.counters,
      quotas: this.tenantQuotas,
    });
  }

  /** Goes on where another core stopped; only before anything else happens to this one. */
  restore(image: CoreImage): void {
    for (const _ of this.restoring(image));
  }

  /** The same in steps of some milliseconds, for a caller with something else to do meanwhile. */
  restoring(image: CoreImage): Generator<undefined, void> {
    const tables = {
      clients: this.#clients,
      segments: this.#segments,
      disks: this.#disks,
      objects: this.#objects,
    };
    return restore(image, tables, this.#options, this.#clock.monotonicMs());
  }

  /** What is to outlive this process, as it is while somebody walks through it. */
  image(): CoreImage {
    return imageOfTables(this.#segments, this.#disks, this.#objects);
  }

  get objectCount(): number {
    return this.#objects.count;
  }

  get inMemoryCount(): number {
    return this.#objects.inMemoryCount;
  }

  get inFilesCount(): number {
    return this.#objects.inFilesCount;
  }

  /** Bytes of objects in shared files and on clients' disks, whole or not yet. */
  get fileByteCount(): number {
    return this.#objects.sharedFileByteCount + this.#disks.usedByteCount;
  }

  /** What shared files and clients' disks can hold, as far as anybody told. */
  get fileCapacityByteCount(): number {
    return this.#options.sharedCapacityByteCount + this.localDisks.capacityByteCount;
  }

  get unfinishedPutCount(): number {
    return this.#objects.unfinishedCount;
  }

  get softPinnedCount(): number {
    return this.#objects.order.softPinnedCount;
  }

  get setAsideByteCount(): number {
    return this.#objects.setAsideByteCount;
  }

  get clientCount(): number {
    return this.#clients.count;
  }

  /** Of the clients, how many may be dead. */
  get suspectCount(): number {
    return this.#clients.suspectCount;
  }

  get suspicionCounts(): ClientTable['suspicionCounts'] {
    return this.#clients.suspicionCounts;
  }

  get usedByteCount(): number {
    return this.#segments.usedByteCount;
  }

  get capacityByteCount(): number {
    return this.#segments.capacityByteCount;
  }

  get isEvictionDue(): boolean {
    return this.#evictor.isDue;
  }

  /** Whether the object can be read; if so, nobody removes or evicts it for the lease's time. */
  exist(key: string, tenant = defaultTenant): boolean {
    return this.#reader.exist(key, tenant, this.#clock.monotonicMs());
  }

  /** Where the object lies, with a lease. */
  find(key: string, tenant = defaultTenant): Expected<GetReplicaListResponse> {
    return this.#reader.find(key, tenant, this.#clock.monotonicMs());
  }

  /** Where it lies, without a lease and without counting. */
  peek(key: string, tenant = defaultTenant): Expected<GetReplicaListResponse> {
    return this.#reader.peek(key, tenant);
  }

  /** In steps, as all that looks at every object. */
  findMatching(
    pattern: string,
    tenant = defaultTenant,
  ): Generator<undefined, Expected<(readonly [string, readonly ReplicaDescriptor[]])[]>> {
    return this.#walker.findMatching(pattern, tenant);
  }

  putStart(
    writer: Uuid,
    key: string,
    byteCount: number,
    config: ReplicateConfig,
    tenant = defaultTenant,
    place: BatchPlace = single,
  ): Expected<readonly ReplicaDescriptor[]> {
    const nowMs = this.#clock.monotonicMs();
    return this.#writer.startPut(writer, key, byteCount, config, tenant, place, nowMs);
  }

  upsertStart(
    writer: Uuid,
    key: string,
    byteCount: number,
    config: ReplicateConfig,
    tenant = defaultTenant,
    place: BatchPlace = single,
  ): Expected<readonly ReplicaDescriptor[]> {
    const nowMs = this.#clock.monotonicMs();
    return this.#writer.startUpsert(writer, key, byteCount, config, tenant, place, nowMs);
  }

  /** Ends a put or an upsert. */
  putEnd(
    writer: Uuid,
    key: string,
    checksum: bigint | null,
    replicaType: number,
    tenant = defaultTenant,
  ): Expected<undefined> {
    const nowMs = this.#clock.monotonicMs();
    return this.#writer.end(writer, key, checksum, replicaType, tenant, nowMs);
  }

  /** Takes back a put or an upsert. */
  putRevoke(
    writer: Uuid,
    key: string,
    replicaType: number,
    tenant = defaultTenant,
  ): Expected<undefined> {
    return this.#writer.revoke(writer, key, replicaType, tenant, this.#clock.monotonicMs());
  }

  remove(key: string, force: boolean, tenant = defaultTenant): Expected<undefined> {
    return this.#remover.remove(key, force, tenant, this.#clock.monotonicMs());
  }

  removeMatching(
    pattern: string,
    force: boolean,
    tenant = defaultTenant,
  ): Generator<undefined, Expected<number>> {
    return this.#walker.removeMatching(pattern, force, tenant);
  }

  /** Of one tenant, or of all. */
  removeAll(force: boolean, tenant: string | null = null): Generator<undefined, number> {
    return this.#walker.removeAll(force, tenant);
  }

  /** Gives the keys that were cleared. */
  clearReplicas(
    keys: readonly string[],
    writer: Uuid,
    segmentName: string,
    tenant = defaultTenant,
  ): string[] {
    const nowMs = this.#clock.monotonicMs();
    return this.#remover.clearReplicas(keys, writer, segmentName, tenant, nowMs);
  }

  mountSegment(segment: Segment, clientId: Uuid): Expected<undefined> {
    return this.#segmentRules.mount(segment, clientId, this.#clock.monotonicMs());
  }

  remountSegments(segments: readonly Segment[], clientId: Uuid): Expected<undefined> {
    return this.#segmentRules.remount(segments, clientId, this.#clock.monotonicMs());
  }

  /** A client that unmounts the last of its own segments is going: its unfinished puts go with it. */
  unmountSegment(segmentId: Uuid, clientId: Uuid): Expected<undefined> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#segmentRules.unmount(segmentId, nowMs) === clientId) {
      this.#writer.reclaimFrom(new Set([clientId]), nowMs);
    }
    return done;
  }

  unmountSegmentGracefully(segmentId: Uuid, clientId: Uuid, graceMs: number): Expected<undefined> {
    const nowMs = this.#clock.monotonicMs();
    return this.#segmentRules.unmountGracefully(segmentId, clientId, graceMs, nowMs);
  }

  segmentStatus(name: string): Expected<number> {
    return this.#segmentRules.status(this.#segments.named(name)[0]);
  }

  segmentStatusById(id: Uuid): Expected<number> {
    return this.#segmentRules.status(this.#segments.get(id));
  }

  ping(clientId: Uuid): number {
    return this.#segmentRules.ping(clientId, this.#clock.monotonicMs());
  }

  /** Somebody calls in the name of a client over a connection of its own; it may be the first of several. */
  clientConnected(clientId: Uuid): void {
    this.#absent.cameBack(clientId);
  }

  /** The last connection of a client is gone: so is the client, unless it pings or writes again. */
  clientDisconnected(clientId: Uuid): void {
    this.#absent.left(clientId, this.#clock.monotonicMs());
    const client = this.#clients.get(clientId);
    if (client === undefined) return;
    if (client.segments.size > 0 || this.#disks.get(clientId) !== undefined) {
      this.#clients.suspect(client);
    }
  }

  /** A client could not read from these endpoints. */
  reportEndpoints(reporter: Uuid, endpoints: readonly string[]): void {
    this.#segmentRules.reportEndpoints(reporter, endpoints, this.#clock.monotonicMs());
  }

  /** Endpoints of a client's segments, each once; null for a client without segments. */
  endpointsOf(clientId: Uuid): string[] | null {
    const segments = this.#clients.get(clientId)?.segments;
    if (segments === undefined || segments.size === 0) return null;
    return [...new Set([...segments].map(({ descriptor }) => descriptor.teEndpoint))];
  }

  keys(tenant = defaultTenant): Iterable<string> {
    return this.#objects.keys(tenant);
  }

  /** Those of a tenant's objects that can be read. */
  *readableKeys(tenant = defaultTenant): IterableIterator<string> {
    for (const object of this.#objects.ofTenant(tenant)) {
      if (this.#reader.isReadable(object)) yield object.key;
    }
  }

  hasObjects(tenant: string): boolean {
    return (this.#objects.tenants.get(tenant)?.objects.count ?? 0) > 0;
  }

  segments(): SegmentView[] {
    return [...this.#segments.all()].map(viewOf);
  }

  segmentsNamed(name: string): SegmentView[] {
    return this.#segments.named(name).map(viewOf);
  }

  /** What time alone decides: silent clients, writes nobody ends, grace periods, bytes set aside. */
  sweep(): Sweep {
    const nowMs = this.#clock.monotonicMs();
    const expiredClients = this.#segmentRules.expire(nowMs);
    this.counters.expiredClients += expiredClients.length;
    const dead = new Set(expiredClients.map(({ id }) => id));
    const away = this.#absent.takeLong(nowMs, this.#options.clientTtlMs);
    let reclaimedWriteCount = this.#writer.reclaimOverdue(nowMs);
    for (const { id } of expiredClients) this.localDisks.lose(id, nowMs);
    if (dead.size > 0) reclaimedWriteCount += this.#writer.reclaimFrom(dead, nowMs);
    if (away.size > 0) reclaimedWriteCount += this.#writer.abandonFrom(away, nowMs);
    this.#offloader.expire(nowMs);
    this.#promoter.expire(nowMs);
    this.#promoter.retry(nowMs);
    this.replication.sweep(dead);
    this.tasks.sweep(dead);
    this.#hot.sweep(nowMs);
    this.counters.released += this.#objects.releaseDue(nowMs);
    this.#segments.endRests(nowMs);
    const unmountedSegmentCount = this.#segmentRules.unmountDue(nowMs);
    return { expiredClients, reclaimedWriteCount, unmountedSegmentCount };
  }

  /** One step of eviction; gives how many objects went. */
  evict(): number {
    return this.#evictor.step(this.#clock.monotonicMs());
  }

  /** Objects that somebody holds a lease on. Looks at every object. */
  countLeases(): number {
    const nowMs = this.#clock.monotonicMs();
    let count = 0;
    for (const object of this.#objects.all()) if (object.isLeased(nowMs)) count += 1;
    return count;
  }

  checkInvariants(): void {
    this.#segments.checkInvariants();
    this.#clients.checkInvariants(this.#segments.all());
    this.#objects.checkInvariants(this.#clock.monotonicMs());
    this.#offloader.checkInvariants();
    this.#promoter.checkInvariants();
    this.tasks.checkInvariants();
    assert(this.#objects.count <= this.#options.objectCountMax, 'objects are not too many');
    assert(this.#segments.count <= this.#options.segmentCountMax, 'segments are not too many');
  }

  /** Nobody is sent to the memory or the disk of a client that may be dead. */
  #trust({ id, segments, isSuspect }: Client): void {
    for (const segment of segments) this.#segments.trust(segment, isSuspect);
    const disk = this.#disks.get(id);
    if (disk !== undefined) this.#disks.trust(disk, isSuspect);
  }
}
