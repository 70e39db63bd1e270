/**
 * What differs from release to release, as codecs of one and the same values: whatever layout a peer
 * speaks, our code sees the values of the current one.
 */
import { absent, type Codec, type Expected, expected, i32, list, map } from '../codec.ts';
import {
  type GetReplicaListResponse,
  getReplicaListResponse,
  type ObjectMeta,
  objectKey,
  objectMeta,
  type ReplicaDescriptor,
  replicaDescriptor,
  replicateConfig,
  tenantId,
} from './objects.ts';
import { segment } from './segments.ts';
import {
  type CopyStartResponse,
  copyStartResponse,
  diskTaskItem,
  type MoveStartResponse,
  moveStartResponse,
  promotionAllocStartResponse,
  taskAssignment,
} from './tasks.ts';

/** Answers that tell where copies lie. */
export interface ReplicaAnswers {
  readonly started: Codec<Expected<readonly ReplicaDescriptor[]>>;
  readonly found: Codec<Expected<GetReplicaListResponse>>;
  readonly foundByRegex: Codec<
    Expected<readonly (readonly [string, readonly ReplicaDescriptor[]])[]>
  >;
  readonly copyStarted: Codec<Expected<CopyStartResponse>>;
  readonly moveStarted: Codec<Expected<MoveStartResponse>>;
  readonly promotionStarted: Codec<Expected<{ readonly memoryDescriptor: ReplicaDescriptor }>>;
}

const currentAnswers: ReplicaAnswers = {
  started: expected(list(replicaDescriptor)),
  found: expected(getReplicaListResponse),
  foundByRegex: expected(map(objectKey, list(replicaDescriptor))),
  copyStarted: expected(copyStartResponse),
  moveStarted: expected(moveStartResponse),
  promotionStarted: expected(promotionAllocStartResponse),
};

/** Those of 0.3.13. */
export const currentParts = {
  answers: currentAnswers,
  tenantId,
  /** Tenant of `BatchReplicaClear`, which got it later than the other calls. */
  clearTenantId: absent('default') as Codec<string>,
  segment,
  replicateConfig,
  /** What a put ends with. */
  objectMeta: objectMeta as Codec<ObjectMeta>,
  /** Which replicas `BatchPutEnd` and `BatchPutRevoke` speak of. */
  batchReplicaType: i32,
  taskAssignment,
  /** Objects that a client is to write to its disk or to bring back from it. */
  diskTasks: list(diskTaskItem),
  /** Objects that a client has written to its disk. */
  offloaded: list(diskTaskItem),
};

export type MessageParts = typeof currentParts;
