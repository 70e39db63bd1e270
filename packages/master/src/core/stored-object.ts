import type { GetReplicaListResponse, Uuid } from '@tsukimi/wire';
import type { Block } from './allocator.ts';
import type { Due } from './due-heap.ts';
import type { ObjectList } from './object-list.ts';
import type { MountedSegment } from './segment-table.ts';

/** One copy of an object: a run of bytes in a segment. Due once it is set aside: then its bytes return. */
export interface Replica extends Due {
  /** Counted from 1, never given twice. */
  readonly id: number;
  readonly segment: MountedSegment;
  readonly block: Block<Replica>;
  /** Null for a replica that is set aside: no object has it, but somebody may still read or write it. */
  object: StoredObject | null;
}

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

/** What a write that begins knows of its object. */
export interface NewObject {
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
  readonly key: string;
  byteCount: number;
  writer: Uuid;
  /** When the running or last write began. */
  startedMs: number;
  replicas: Replica[];
  checksum: bigint | null = null;

  leaseUntilMs = 0;
  readonly hardPin: boolean;
  /** How long completion pins it softly; 0: not at all. */
  softPinTtlMs: number;
  softPin: SoftPin | null = null;
  readonly group: ObjectGroup | null;

  /** The list it is in: that of the unfinished writes, or one of the eviction order. */
  list: ObjectList | null = null;
  previous: StoredObject | null = null;
  next: StoredObject | null = null;
  /** Its place in the eviction order: lists are sorted by it. */
  rankMs = 0;

  /** What readers are told; null until somebody asks after a change. */
  answer: GetReplicaListResponse | null = null;

  constructor(fields: NewObject, startedMs: number, group: ObjectGroup | null) {
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
