export type Uuid = string & { readonly __uuid: true };
export type Expected<T> = { readonly ok: T } | { readonly error: number };
export const ErrorCode = {
  INVALID_PARAMS: -600,
  OBJECT_NOT_FOUND: -704,
  OBJECT_ALREADY_EXISTS: -705,
  REPLICA_IS_NOT_READY: -703,
  OBJECT_HAS_LEASE: -706,
  ILLEGAL_CLIENT: -601,
  INVALID_WRITE: -700,
  NO_AVAILABLE_HANDLE: -200,
  SEGMENT_NOT_FOUND: -101,
  UNAVAILABLE_IN_CURRENT_STATUS: -1010,
  NOT_SUPPORTED: -1012,
  BUFFER_OVERFLOW: -10,
} as const;
export const SoftPinAction = { PRESERVE: 0, ENABLE: 1, DISABLE: 2 } as const;
export const SegmentStatus = { OK: 1, GRACEFULLY_UNMOUNTING: 4 } as const;
export const ReplicaStatus = { PROCESSING: 2, COMPLETE: 3 } as const;
export const ReplicaType = {
  MEMORY: 0,
  DISK: 1,
  LOCAL_DISK: 2,
  NOF_SSD: 3,
  ALL: 4,
  DFS: 100,
} as const;
export const ClientStatus = { UNDEFINED: 0, OK: 1, NEED_REMOUNT: 2 } as const;
export interface Segment {
  readonly id: Uuid;
  readonly name: string;
  readonly base: bigint;
  readonly size: number;
  readonly teEndpoint: string;
  readonly protocol: string;
  readonly hostId: string;
}
export interface ReplicateConfig {
  readonly replicaNum: number;
  readonly nofReplicaNum: number;
  readonly dfsReplicaNum: number;
  readonly softPinAction: number;
  readonly softPinTtlMs: number | null;
  readonly withHardPin: boolean;
  readonly preferredSegments: readonly string[];
  readonly preferredSegment: string;
  readonly preferredNofSegments: readonly string[];
  readonly preferAllocInSameNode: boolean;
  readonly dataType: number;
  readonly hostId: string;
  readonly groupIds: readonly string[] | null;
}
export interface ReplicaDescriptor {
  readonly id: number;
  readonly location: {
    readonly kind: 'memory';
    readonly buffer: {
      readonly size: number;
      readonly bufferAddress: bigint;
      readonly protocol: string;
      readonly transportEndpoint: string;
    };
  };
  readonly status: number;
}
export interface GetReplicaListResponse {
  readonly replicas: readonly ReplicaDescriptor[];
  readonly leaseTtlMs: number;
  readonly objectChecksum: bigint | null;
}
export interface PingResponse {
  readonly viewVersionId: number;
  readonly clientStatus: number;
}
