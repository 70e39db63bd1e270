import type { GetReplicaListResponse, Uuid } from '@tsukimi/wire';
import type { Due } from './due-heap.ts';
import type { ObjectList } from './object-list.ts';
import type { Replica } from './replica.ts';
import type { Replication } from './replicator.ts';
import type { Tenant } from './tenant-table.ts';

/** Objects that belong together: a lease on one is a lease on all, and they are evicted together. */
export interface ObjectGroup {
  readonly id: string;
  readonly members: Set<StoredObject>;
  leaseUntilMs: number;
}

/** Protects an object from the first rounds of eviction until it is due. */
export interface SoftPin extends Due {
  readonly object: StoredObject;
}

/** What is left of a write whose object can be read already. Due when it has had all its time. */
export interface TrailingWrite extends Due {
  readonly object: StoredObject;
}

/** What a write that begins knows of its object. */
export interface NewObject {
  readonly tenant: string;
  readonly key: string;
  readonly byteCount: number;
  readonly writer: Uuid;
  readonly replicas: Replica[];
  readonly hardPin: boolean;
  readonly softPinTtlMs: number;
  /** Empty: none. */
  readonly groupId: string;
}

/** A key, its size, who wrote it and where its copies lie. Times are of the monotonic clock. */
export class StoredObject {
  readonly tenant: Tenant;
  readonly key: string;
  byteCount: number;
  writer: Uuid;
  /** When the running or last write began. */
  startedMs: number;
  replicas: Replica[];
  checksum: bigint | null = null;
  trailing: TrailingWrite | null = null;
  /** The copy or move that is under way. */
  replication: Replication | null = null;
  /** Where complete copies lie, as `heldBy` says; kept by the table, which counts by it. */
  held = 0;

  leaseUntilMs = 0;
  readonly hardPin: boolean;
  /** How long completion pins it softly; 0: not at all. */
  softPinTtlMs: number;
  softPin: SoftPin | null = null;
  readonly group: ObjectGroup | null;

  /** The list it is in: that of the unreadable objects, or one of the eviction order. */
  list: ObjectList | null = null;
  previous: StoredObject | null = null;
  next: StoredObject | null = null;
  /** Its place in the eviction order: lists are sorted by it. */
  rankMs = 0;

  /** What readers are told while all copies can be read; null until somebody asks after a change. */
  answer: GetReplicaListResponse | null = null;

  constructor(tenant: Tenant, fields: NewObject, startedMs: number, group: ObjectGroup | null) {
    this.tenant = tenant;
    this.key = fields.key;
    this.byteCount = fields.byteCount;
    this.writer = fields.writer;
    this.startedMs = startedMs;
    this.replicas = fields.replicas;
    this.hardPin = fields.hardPin;
    this.softPinTtlMs = fields.softPinTtlMs;
    this.group = group;
  }

  isLeased(nowMs: number): boolean {
    return this.leaseUntilMs > nowMs || (this.group !== null && this.group.leaseUntilMs > nowMs);
  }
}
