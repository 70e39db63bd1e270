import {
  bool,
  type Codec,
  type Infer,
  i32,
  list,
  optional,
  size,
  struct,
  text,
  u8,
  u64,
  variant,
} from '../codec.ts';
import { uuid } from '../uuid.ts';

export const ReplicaType = {
  MEMORY: 0,
  DISK: 1,
  LOCAL_DISK: 2,
  NOF_SSD: 3,
  ALL: 4,
  DFS: 100,
} as const;

export const ReplicaStatus = {
  UNDEFINED: 0,
  INITIALIZED: 1,
  PROCESSING: 2,
  COMPLETE: 3,
  REMOVED: 4,
  FAILED: 5,
} as const;

export const SoftPinAction = { PRESERVE: 0, ENABLE: 1, DISABLE: 2 } as const;

/** What an object holds, for those who want to treat kinds apart. */
export const ObjectDataType = {
  UNKNOWN: 0,
  KVCACHE: 1,
  TENSOR: 2,
  WEIGHT: 3,
  SAMPLE: 4,
  ACTIVATION: 5,
  GRADIENT: 6,
  OPTIMIZER_STATE: 7,
  METADATA: 8,
  GENERAL: 9,
} as const;

export const objectKey = text(2 ** 16);
export const tenantId = text(2 ** 10);
export const endpoint = text(2 ** 10);

/** How an object is to be stored. */
export const replicateConfig = struct({
  replicaNum: size,
  nofReplicaNum: size,
  dfsReplicaNum: size,
  /** One of `SoftPinAction`. */
  softPinAction: u8,
  softPinTtlMs: optional(size),
  withHardPin: bool,
  /** Segment names, tried in order. */
  preferredSegments: list(endpoint),
  /** Hides the list when it is not empty. */
  preferredSegment: endpoint,
  preferredNofSegments: list(endpoint),
  preferAllocInSameNode: bool,
  /** One of `ObjectDataType`. */
  dataType: u8,
  hostId: text(2 ** 10),
  groupIds: optional(list(text(2 ** 12))),
});
export type ReplicateConfig = Infer<typeof replicateConfig>;

export const objectMeta = struct({
  key: objectKey,
  /** CRC-64/ECMA-182 of the object's bytes. */
  objectChecksum: optional(u64),
});
export type ObjectMeta = Infer<typeof objectMeta>;

/** A run of bytes in the memory of the engine at `transportEndpoint`. */
const bufferDescriptor = struct({
  size,
  /** Absolute virtual address in the owner's process. */
  bufferAddress: u64,
  protocol: text(64),
  transportEndpoint: endpoint,
});

const locations = {
  memory: struct({ buffer: bufferDescriptor }),
  nof: struct({ buffer: bufferDescriptor }),
  disk: struct({ filePath: text(2 ** 14), objectSize: size }),
  localDisk: struct({ clientId: uuid, objectSize: size, transportEndpoint: endpoint }),
  dfs: struct({
    filePath: text(2 ** 14),
    offset: size,
    objectSize: size,
    alignedSize: size,
    shardIdx: i32,
  }),
};

/** Where one copy of an object lies. */
export const replicaDescriptor = replicaDescriptorOf(locations);
export type ReplicaDescriptor = Infer<typeof replicaDescriptor>;
export type ReplicaKind = ReplicaDescriptor['location']['kind'];

/** The same, where only these kinds of places are known. A descriptor of another kind cannot be written. */
export function replicaDescriptorIn(kinds: readonly ReplicaKind[]): Codec<ReplicaDescriptor> {
  const known = Object.entries(locations).filter(([kind]) => kinds.includes(kind as ReplicaKind));
  return replicaDescriptorOf(Object.fromEntries(known) as typeof locations);
}

function replicaDescriptorOf(known: typeof locations) {
  return struct({
    id: size,
    location: variant(known),
    /** One of `ReplicaStatus`. */
    status: i32,
  });
}

/** What a batch look-up without leases still leases: see `ProbePolicy`. */
export interface ProbeOptions {
  /** One of `ProbePolicy`. */
  readonly policy: number;
  /** How many consecutive keys make one candidate. */
  readonly candidateSize: number;
}

/** `LAST_HIT_ONLY` leases the last candidate of which all keys are there. */
export const ProbePolicy = { NONE: 0, LAST_HIT_ONLY: 1 } as const;

/** Trivially copyable, so it travels as it lies in memory: u8, 7 bytes of padding, u64. */
export const probeOptions: Codec<ProbeOptions> = {
  literal: [0xfd, 0x06, 0x04, 0x89, 0x89, 0xff],
  write(out, { policy, candidateSize }) {
    out.size(policy);
    out.size(candidateSize);
  },
  read(source) {
    const policy = source.u8();
    source.raw(7);
    return { policy, candidateSize: source.size() };
  },
};

export const getReplicaListResponse = struct({
  replicas: list(replicaDescriptor),
  leaseTtlMs: size,
  objectChecksum: optional(u64),
});
export type GetReplicaListResponse = Infer<typeof getReplicaListResponse>;
