import { ReplicaType } from '@tsukimi/wire';
import type { Block } from './allocator.ts';
import type { Due } from './due-heap.ts';
import type { LocalDisk } from './local-disk-table.ts';
import type { MountedSegment } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';

interface Copy {
  /** Counted from 1, never given twice. */
  readonly id: number;
  /** Null for a replica that is set aside: no object has it, but somebody may still read or write it. */
  object: StoredObject | null;
  /** Whether its bytes have been written: only then is it shown to readers. */
  isComplete: boolean;
  /** How many offloads, promotions, copies and moves read it: nobody evicts or overwrites it meanwhile. */
  busyCount: number;
}

/** A run of bytes in a mounted segment. Due once it is set aside: then its bytes return. */
export interface MemoryReplica extends Copy, Due {
  readonly kind: 'memory';
  readonly segment: MountedSegment;
  readonly block: Block<MemoryReplica>;
}

/** A file in the directory that all clients share; a client writes it after the memory. */
interface DiskReplica extends Copy {
  readonly kind: 'disk';
  readonly filePath: string;
  readonly byteCount: number;
}

/** Bytes on the disk of one client, who serves them at an endpoint of its own. */
export interface LocalDiskReplica extends Copy {
  readonly kind: 'localDisk';
  readonly disk: LocalDisk;
  readonly byteCount: number;
  transportEndpoint: string;
}

/** One copy of an object. */
export type Replica = MemoryReplica | DiskReplica | LocalDiskReplica;

/** What a caller means who says `ALL`: what is written at once; files follow and are told of apart. */
export function isOfType(replica: Replica, type: number): boolean {
  switch (replica.kind) {
    case 'memory':
      return type === ReplicaType.ALL || type === ReplicaType.MEMORY;
    case 'disk':
      return type === ReplicaType.DISK;
    case 'localDisk':
      return type === ReplicaType.LOCAL_DISK;
  }
}

/** Whether readers may be sent there: it is written, and whoever holds it has been heard and is trusted. */
export function isReadable(replica: Replica): boolean {
  if (!replica.isComplete) return false;
  switch (replica.kind) {
    case 'memory':
      return !replica.segment.isAway && !replica.segment.isSuspect;
    case 'disk':
      return true;
    case 'localDisk':
      return !replica.disk.isAway && !replica.disk.isSuspect;
  }
}

/** Memory that eviction may take now. */
export function isEvictable(replica: Replica): replica is MemoryReplica {
  return replica.kind === 'memory' && replica.isComplete && replica.busyCount === 0;
}

export const inMemory = 1;
export const inFiles = 2;

/** Where complete ones of these lie: `inMemory`, `inFiles`, both added, or 0. */
export function heldBy(replicas: readonly Replica[]): number {
  let held = 0;
  for (const { kind, isComplete } of replicas) {
    if (isComplete) held |= kind === 'memory' ? inMemory : inFiles;
  }
  return held;
}
