import { type Infer, i32, i64, list, optional, struct, text, u32 } from '../codec.ts';
import { uuid } from '../uuid.ts';
import { endpoint, objectKey, replicaDescriptor, tenantId } from './objects.ts';

export const TaskType = { REPLICA_COPY: 0, REPLICA_MOVE: 1 } as const;

export const TaskStatus = { PENDING: 0, PROCESSING: 1, FAILED: 2, SUCCESS: 3 } as const;

export const copyStartResponse = struct({
  source: replicaDescriptor,
  targets: list(replicaDescriptor),
});

export type CopyStartResponse = Infer<typeof copyStartResponse>;

export const moveStartResponse = struct({
  source: replicaDescriptor,
  target: optional(replicaDescriptor),
});

export type MoveStartResponse = Infer<typeof moveStartResponse>;

export const queryTaskResponse = struct({
  id: uuid,
  /** One of `TaskType`. */
  type: i32,
  /** One of `TaskStatus`. */
  status: i32,
  createdAtMsEpoch: i64,
  lastUpdatedAtMsEpoch: i64,
  assignedClient: uuid,
  message: text(),
});
export type QueryTaskResponse = Infer<typeof queryTaskResponse>;

export const taskAssignment = struct({
  id: uuid,
  /** One of `TaskType`. */
  type: i32,
  /** JSON. */
  payload: text(),
  createdAtMsEpoch: i64,
  maxRetryAttempts: u32,
});
export type TaskAssignment = Infer<typeof taskAssignment>;

export const taskCompleteRequest = struct({ id: uuid, status: i32, message: text() });

/** One object to be written to a client's own disk, or brought back from it. */
export const diskTaskItem = struct({ tenantId, key: objectKey, size: i64 });
export type DiskTaskItem = Infer<typeof diskTaskItem>;

export const storageObjectMetadata = struct({
  bucketId: i64,
  offset: i64,
  keySize: i64,
  dataSize: i64,
  transportEndpoint: endpoint,
});

export const promotionAllocStartResponse = struct({ memoryDescriptor: replicaDescriptor });
