import type { Segment, Uuid } from '@tsukimi/wire';
import type { Replica } from './replica.ts';
import type { StoredObject } from './stored-object.ts';

/** A segment that is mounted. A number is given to each mount once, so a segment that comes back has another. */
export interface MountImage {
  readonly number: number;
  readonly segment: Segment;
  readonly owner: Uuid;
  /** Whether it is being unmounted gracefully: nothing new goes there. */
  readonly isClosing: boolean;
}

/** A client's own disk, numbered like the mounts. */
export interface DiskImage {
  readonly number: number;
  readonly owner: Uuid;
}

export type ReplicaImage = { readonly id: number; readonly isComplete: boolean } & (
  | { readonly kind: 'memory'; readonly mount: number; readonly offset: number }
  | { readonly kind: 'disk'; readonly filePath: string; readonly byteCount: number }
  | {
      readonly kind: 'localDisk';
      readonly disk: number;
      readonly byteCount: number;
      readonly transportEndpoint: string;
    }
);

/** All of an object that outlives the process: not its leases, and not who is reading it. */
export interface ObjectImage {
  readonly tenant: string;
  readonly key: string;
  readonly byteCount: number;
  readonly writer: Uuid;
  readonly checksum: bigint | null;
  readonly hardPin: boolean;
  readonly softPinTtlMs: number;
  /** Empty: none. */
  readonly groupId: string;
  readonly replicas: readonly ReplicaImage[];
}

/** Bytes that no object has, and that somebody may still touch. */
export interface AsideImage {
  /** The replica's. */
  readonly id: number;
  readonly mount: number;
  readonly offset: number;
  readonly byteCount: number;
}

/** What a core needs to go on where another stopped. */
export interface CoreImage {
  readonly mounts: Iterable<MountImage>;
  readonly disks: Iterable<DiskImage>;
  /** Those that changed last come last. */
  readonly objects: Iterable<ObjectImage>;
  readonly aside: Iterable<AsideImage>;
  /** Larger than every number and id ever given. */
  readonly nextNumber: number;
}

/**
 * Told of every change of what must outlive the process, when it has happened and in order. Each call
 * carries the whole new state of one thing, so that the last word about a thing is all there is to know.
 */
export interface ChangeLog {
  mounted(mount: MountImage): void;
  unmounted(number: number): void;
  diskMounted(disk: DiskImage): void;
  diskUnmounted(number: number): void;
  /** The object is new, or something of its image changed. */
  stored(object: ObjectImage): void;
  gone(tenant: string, key: string): void;
  setAside(aside: AsideImage): void;
  released(id: number): void;
}

export function imageOf(object: StoredObject): ObjectImage {
  return {
    tenant: object.tenant.id,
    key: object.key,
    byteCount: object.byteCount,
    writer: object.writer,
    checksum: object.checksum,
    hardPin: object.hardPin,
    softPinTtlMs: object.softPinTtlMs,
    groupId: object.group?.id ?? '',
    replicas: object.replicas.map(imageOfReplica),
  };
}

function imageOfReplica(replica: Replica): ReplicaImage {
  const { kind, id, isComplete } = replica;
  switch (kind) {
    case 'memory':
      return {
        kind,
        id,
        isComplete,
        mount: replica.segment.number,
        offset: replica.block.offset,
      };
    case 'disk':
      return { kind, id, isComplete, filePath: replica.filePath, byteCount: replica.byteCount };
    case 'localDisk':
      return {
        kind,
        id,
        isComplete,
        disk: replica.disk.number,
        byteCount: replica.byteCount,
        transportEndpoint: replica.transportEndpoint,
      };
  }
}
