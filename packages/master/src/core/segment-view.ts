import type { Uuid } from '@tsukimi/wire';
import type { MountedSegment } from './segment-table.ts';

/** What an operator is told of a segment. */
export interface SegmentView {
  readonly name: string;
  readonly id: Uuid;
  readonly owner: Uuid;
  readonly base: bigint;
  readonly teEndpoint: string;
  readonly protocol: string;
  readonly status: number;
  readonly usedByteCount: number;
  readonly capacityByteCount: number;
}

export function viewOf({ descriptor, owner, allocator, status }: MountedSegment): SegmentView {
  const { name, id, base, teEndpoint, protocol } = descriptor;
  return {
    name,
    id,
    owner,
    base,
    teEndpoint,
    protocol,
    status,
    usedByteCount: allocator.usedByteCount,
    capacityByteCount: allocator.capacity,
  };
}
