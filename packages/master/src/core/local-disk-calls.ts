import type { Clock } from '@tsukimi/base';
import { type Expected, type ReplicaDescriptor, ReplicaType, type Uuid } from '@tsukimi/wire';
import { done, failed } from './answers.ts';
import type { ClientTable } from './client-table.ts';
import type { CoreOptions } from './core-options.ts';
import type { LocalDisk, LocalDiskTable } from './local-disk-table.ts';
import type { ObjectTable } from './object-table.ts';
import type { DiskTask, Offloader } from './offloader.ts';
import type { Promoter } from './promoter.ts';
import { isReadable, type LocalDiskReplica } from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';
import type { TenantQuotas } from './tenant-quotas.ts';
import { defaultTenant } from './tenant-table.ts';

/** What a client says of one object on its disk: negative `byteCount` when it could not write it. */
export interface DiskReport {
  readonly tenant: string;
  readonly key: string;
  readonly byteCount: number;
  readonly transportEndpoint: string;
}

/** The calls about clients' own disks: who lends one, what lies there, what goes there and comes back. */
export class LocalDiskCalls {
  readonly #options: CoreOptions;
  readonly #clock: Clock;
  readonly #clients: ClientTable;
  readonly #segments: SegmentTable;
  readonly #disks: LocalDiskTable;
  readonly #objects: ObjectTable;
  readonly #offloader: Offloader;
  readonly #promoter: Promoter;
  readonly #quotas: TenantQuotas | null;

  constructor(
    options: CoreOptions & { readonly clock: Clock },
    clients: ClientTable,
    segments: SegmentTable,
    disks: LocalDiskTable,
    objects: ObjectTable,
    offloader: Offloader,
    promoter: Promoter,
    quotas: TenantQuotas | null,
  ) {
    this.#options = options;
    this.#clock = options.clock;
    this.#clients = clients;
    this.#segments = segments;
    this.#disks = disks;
    this.#objects = objects;
    this.#offloader = offloader;
    this.#promoter = promoter;
    this.#quotas = quotas;
  }

  /** A client that lends its disk is alive. A disk that is lent already stays as it is. */
  mount(clientId: Uuid, isOffloading: boolean): Expected<undefined> {
    if (!this.#options.enableOffload) return failed('UNABLE_OFFLOAD');
    if (this.#disks.lent(clientId) !== undefined) return done;
    if (this.#clients.seen(clientId, this.#clock.monotonicMs()) === null)
      return failed('NO_AVAILABLE_HANDLE');
    this.#disks.mount(clientId, isOffloading);
    return done;
  }

  unmount(clientId: Uuid): Expected<undefined> {
    if (!this.#options.enableOffload) return failed('UNABLE_OFFLOAD');
    this.lose(clientId, this.#clock.monotonicMs());
    return done;
  }

  /** A client's disk is gone with all that lies there. */
  lose(clientId: Uuid, nowMs: number): void {
    const disk = this.#disks.get(clientId);
    if (disk === undefined) return;
    this.#promoter.lose(disk, nowMs);
    this.#offloader.lose(disk, nowMs);
    const gone = this.#disks.unmount(disk);
    for (const replica of gone) this.#objects.lose(replica, nowMs);
  }

  reportCapacity(clientId: Uuid, byteCount: number): Expected<undefined> {
    if (byteCount < 0) return failed('INVALID_PARAMS');
    const disk = this.#disks.lent(clientId);
    if (disk === undefined) return failed('SEGMENT_NOT_FOUND');
    return this.#disks.resize(disk, byteCount) ? done : failed('INVALID_PARAMS');
  }

  /** What a client wrote to its disk, or found there when it started. */
  report(clientId: Uuid, reports: readonly DiskReport[]): Expected<undefined> {
    const nowMs = this.#clock.monotonicMs();
    const disk = this.#disks.lent(clientId);
    let isRefused = false;
    for (const report of reports) {
      const object = this.#objects.get(report.key, report.tenant);
      const wasAsked = object !== undefined && this.#offloader.end(object, nowMs);
      if (report.byteCount < 0) continue;
      if (!wasAsked && this.#quotas?.isRegistered(report.tenant) === false) {
        return failed('TENANT_NOT_REGISTERED');
      }
      if (disk === undefined) isRefused = true;
      else this.#admit(disk, object, report, nowMs);
    }
    return isRefused ? failed('SEGMENT_NOT_FOUND') : done;
  }

  /** Copies in files go: the shared one, or the one on the client's own disk. */
  evict(
    clientId: Uuid,
    key: string,
    replicaType: number,
    tenant = defaultTenant,
  ): Expected<undefined> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (replicaType !== ReplicaType.DISK && replicaType !== ReplicaType.LOCAL_DISK) {
      return failed('INVALID_PARAMS');
    }
    const evicted = object.replicas.filter((replica) =>
      replicaType === ReplicaType.DISK
        ? replica.kind === 'disk'
        : replica.kind === 'localDisk' && replica.disk.owner === clientId,
    );
    this.#objects.drop(object, evicted, this.#clock.monotonicMs());
    return done;
  }

  /** What a client is to write to its disk now; one that does not want to is rid of what waited. */
  takeOffloads(clientId: Uuid, isOffloading: boolean): Expected<DiskTask[]> {
    return this.#offloader.take(clientId, isOffloading, this.#clock.monotonicMs());
  }

  /** An object that lies on a disk alone is to be brought back to memory: somebody is going to read it. */
  prefetch(key: string, tenant = defaultTenant): Expected<undefined> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    const readable = object.replicas.filter(isReadable);
    if (readable.length === 0) return failed('REPLICA_IS_NOT_READY');
    if (readable.some(({ kind }) => kind === 'memory')) return done;
    return this.#promoter.request(object, this.#clock.monotonicMs());
  }

  /** What a client is to bring back to memory now. */
  takePromotions(clientId: Uuid): Expected<DiskTask[]> {
    return this.#promoter.take(clientId);
  }

  /** Memory for what a client brings back. */
  startPromotion(
    clientId: Uuid,
    key: string,
    byteCount: number,
    preferredSegments: readonly string[],
    tenant = defaultTenant,
  ): Expected<{ readonly memoryDescriptor: ReplicaDescriptor }> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    if (this.#quotas !== null && this.#quotas.deficit(tenant, byteCount) > 0) {
      return failed('TENANT_QUOTA_EXCEEDED');
    }
    const nowMs = this.#clock.monotonicMs();
    return this.#promoter.start(clientId, object, byteCount, preferredSegments, nowMs);
  }

  /** A client has brought an object back: it can be read from memory again. */
  promoted(clientId: Uuid, key: string, tenant = defaultTenant): Expected<undefined> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    return this.#promoter.succeed(clientId, object, this.#clock.monotonicMs());
  }

  /** A client could not bring an object back. */
  notPromoted(clientId: Uuid, key: string, tenant = defaultTenant): Expected<undefined> {
    const object = this.#objects.get(key, tenant);
    if (object === undefined) return failed('OBJECT_NOT_FOUND');
    return this.#promoter.fail(clientId, object, this.#clock.monotonicMs());
  }

  /** How many objects are on their way back to memory. */
  get promotionCount(): number {
    return this.#promoter.inFlightCount;
  }

  /** What the disks can hold, as their clients reported. */
  get capacityByteCount(): number {
    return this.#disks.capacityByteCount;
  }

  /** Clients whose disks hold objects of a tenant, or all, are told to remove everything there. */
  requestRemoveAll(disks: Iterable<LocalDisk> = this.#disks.all()): void {
    for (const disk of disks) disk.mustRemoveAll = true;
  }

  /** Whether a client is to remove everything on its disk; it is told once. */
  pollRemoveAll(clientId: Uuid): Expected<boolean> {
    const disk = this.#disks.get(clientId);
    if (disk === undefined) return failed('SEGMENT_NOT_FOUND');
    const ok = disk.mustRemoveAll;
    disk.mustRemoveAll = false;
    return { ok };
  }

  #admit(
    disk: LocalDisk,
    object: StoredObject | undefined,
    { tenant, key, byteCount, transportEndpoint }: DiskReport,
    nowMs: number,
  ): void {
    if (byteCount < 1 || !this.#disks.canCount(byteCount)) return;
    if (object === undefined) {
      if (this.#objects.count >= this.#options.objectCountMax) return;
      const found = this.#objects.begin(
        {
          ...{ tenant, key, byteCount, writer: disk.owner },
          replicas: [this.#replica(disk, byteCount, transportEndpoint)],
          ...{ hardPin: false, softPinTtlMs: 0, groupId: '' },
        },
        nowMs,
      );
      this.#objects.complete(found, ReplicaType.LOCAL_DISK, nowMs);
      return;
    }
    const present = object.replicas.find(({ kind }) => kind === 'localDisk');
    if (present === undefined) {
      // Bytes of another length, or from before a write that is going on, are not this object's.
      if (this.#objects.isUnfinished(object) || object.byteCount !== byteCount) return;
      const replica = this.#replica(disk, byteCount, transportEndpoint);
      replica.isComplete = true;
      this.#objects.addReplica(object, replica, nowMs);
    } else if (present.kind === 'localDisk' && present.disk === disk) {
      present.transportEndpoint = transportEndpoint;
      this.#objects.changed(object, nowMs);
    }
  }

  #replica(disk: LocalDisk, byteCount: number, transportEndpoint: string): LocalDiskReplica {
    return {
      kind: 'localDisk',
      id: this.#segments.nextReplicaId(),
      disk,
      byteCount,
      transportEndpoint,
      object: null,
      isComplete: false,
      busyCount: 0,
    };
  }
}
