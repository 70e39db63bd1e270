import { type ReplicaDescriptor, ReplicaStatus } from '@tsukimi/wire';
import type { MemoryReplica } from './stored-object.ts';

/** The replicas in memory and their size; null when there is none, or when they differ in size. */
export function memoryOf(
  descriptors: readonly ReplicaDescriptor[],
): { readonly byteCount: number; readonly replicas: readonly MemoryReplica[] } | null {
  const replicas: MemoryReplica[] = [];
  let byteCount = 0;
  for (const { location } of descriptors) {
    if (location.kind !== 'memory') continue;
    const { size, transportEndpoint, bufferAddress } = location.buffer;
    if (size < 1 || (replicas.length > 0 && size !== byteCount)) return null;
    byteCount = size;
    replicas.push({ endpoint: transportEndpoint, address: bufferAddress });
  }
  return replicas.length === 0 ? null : { byteCount, replicas };
}

/** The same, also where the only copies lie on disks: no replicas then. */
export function readableOf(
  descriptors: readonly ReplicaDescriptor[],
): { readonly byteCount: number; readonly replicas: readonly MemoryReplica[] } | null {
  const memory = memoryOf(descriptors);
  if (memory !== null) return memory;
  for (const { location, status } of descriptors) {
    if (location.kind !== 'localDisk' && location.kind !== 'disk') continue;
    if (status !== ReplicaStatus.COMPLETE || location.objectSize < 1) continue;
    return { byteCount: location.objectSize, replicas: [] };
  }
  return null;
}

/** Bytes of one copy, whatever it lies on. */
export function byteCountOf({ location }: ReplicaDescriptor): number {
  return location.kind === 'memory' || location.kind === 'nof'
    ? location.buffer.size
    : location.objectSize;
}
