/**
 * Every call of Mooncake's master, declared once. Numbers and type codes follow from names and types; none
 * is typed in. How layouts differ between releases is said by `MessageParts`.
 */
import {
  bool,
  type Codec,
  expected,
  i32,
  i64,
  list,
  map,
  nothing,
  passingTexts,
  size,
  text,
} from './codec.ts';
import { endpoint, objectKey, probeOptions } from './messages/objects.ts';
import { currentParts, type MessageParts } from './messages/parts.ts';
import { nofSegment, nofSegmentOwner, pingResponse, storageConfig } from './messages/segments.ts';
import { queryTaskResponse, storageObjectMetadata, taskCompleteRequest } from './messages/tasks.ts';
import { methodOf } from './protocol.ts';
import { type Uuid, uuid } from './uuid.ts';

export const masterClass = 'mooncake::WrappedMasterService';
const call = methodOf(masterClass);

const clientId: Codec<Uuid> = { ...uuid, namesCaller: true };
const keys = list(objectKey, 2 ** 16);
/** Keys that are looked up; nobody keeps them. */
const soughtKeys = passingTexts(2 ** 16, 2 ** 16);
const regex = text(2 ** 12);
const force = bool;
const replicaType = i32;
const sliceLength = size;
const done = expected(nothing);
const eachDone = list(done);

/** The table of all calls in the layouts that `parts` makes. Calls that a release lacks are in it too. */
export function masterCalls({
  answers,
  tenantId,
  clearTenantId,
  segment,
  replicateConfig,
  objectMeta,
  batchReplicaType,
  taskAssignment,
  diskTasks,
  offloaded,
}: MessageParts) {
  return {
    ServiceReady: call('ServiceReady', [], expected(text())),
    GetFsdir: call('GetFsdir', [], expected(text())),
    GetStorageConfig: call('GetStorageConfig', [], expected(storageConfig)),

    ExistKey: call('ExistKey', [objectKey, tenantId], expected(bool)),
    BatchExistKey: call('BatchExistKey', [soughtKeys, tenantId], list(expected(bool))),
    GetReplicaList: call('GetReplicaList', [objectKey, tenantId], answers.found),
    BatchGetReplicaList: call('BatchGetReplicaList', [soughtKeys, tenantId], list(answers.found)),
    GetReplicaListByRegex: call('GetReplicaListByRegex', [regex, tenantId], answers.foundByRegex),
    BatchReplicaClear: call(
      'BatchReplicaClear',
      [keys, clientId, endpoint, clearTenantId],
      expected(keys),
    ),

    PutStart: call(
      'PutStart',
      [clientId, objectKey, sliceLength, replicateConfig, tenantId],
      answers.started,
    ),
    PutEnd: call('PutEnd', [clientId, objectMeta, replicaType, tenantId], done),
    PutRevoke: call('PutRevoke', [clientId, objectKey, replicaType, tenantId], done),
    BatchPutStart: call(
      'BatchPutStart',
      [clientId, keys, list(sliceLength), replicateConfig, tenantId],
      list(answers.started),
    ),
    BatchPutEnd: call(
      'BatchPutEnd',
      [clientId, list(objectMeta), batchReplicaType, tenantId],
      eachDone,
    ),
    BatchPutRevoke: call('BatchPutRevoke', [clientId, keys, batchReplicaType, tenantId], eachDone),
    UpsertStart: call(
      'UpsertStart',
      [clientId, objectKey, sliceLength, replicateConfig, tenantId],
      answers.started,
    ),
    UpsertEnd: call('UpsertEnd', [clientId, objectMeta, replicaType, tenantId], done),
    UpsertRevoke: call('UpsertRevoke', [clientId, objectKey, replicaType, tenantId], done),
    BatchUpsertStart: call(
      'BatchUpsertStart',
      [clientId, keys, list(sliceLength), replicateConfig, tenantId],
      list(answers.started),
    ),
    BatchUpsertEnd: call('BatchUpsertEnd', [clientId, list(objectMeta), tenantId], eachDone),
    BatchUpsertRevoke: call('BatchUpsertRevoke', [clientId, keys, tenantId], eachDone),

    Remove: call('Remove', [objectKey, force, tenantId], done),
    BatchRemove: call('BatchRemove', [keys, force, tenantId], eachDone),
    RemoveByRegex: call('RemoveByRegex', [regex, force, tenantId], expected(i64)),
    RemoveAll: call('RemoveAll', [force, tenantId], i64),
    PollRemoveAll: call('PollRemoveAll', [clientId], expected(bool)),

    Ping: call('Ping', [clientId], expected(pingResponse)),
    MountSegment: call('MountSegment', [segment, clientId], done),
    ReMountSegment: call('ReMountSegment', [list(segment), clientId], done),
    UnmountSegment: call('UnmountSegment', [uuid, clientId], done),
    GracefulUnmountSegment: call('GracefulUnmountSegment', [uuid, clientId, size], done),
    QuerySegmentStatus: call('QuerySegmentStatus', [endpoint], expected(i32)),
    QuerySegmentStatusById: call('QuerySegmentStatusById', [uuid], expected(i32)),
    BatchQueryIp: call('BatchQueryIp', [list(uuid)], expected(map(uuid, list(endpoint)))),
    MountNoFSegment: call('MountNoFSegment', [nofSegment, clientId], done),
    ReMountNoFSegment: call('ReMountNoFSegment', [list(nofSegment), clientId], done),
    UnmountNoFSegment: call('UnmountNoFSegment', [uuid, clientId], done),
    GetAllNoFSegments: call('GetAllNoFSegments', [], expected(list(nofSegment))),
    GetNoFSegmentsByName: call('GetNoFSegmentsByName', [endpoint], expected(list(nofSegmentOwner))),

    MountLocalDiskSegment: call('MountLocalDiskSegment', [clientId, bool], done),
    UnmountLocalDiskSegment: call('UnmountLocalDiskSegment', [clientId], done),
    OffloadObjectHeartbeat: call('OffloadObjectHeartbeat', [clientId, bool], expected(diskTasks)),
    ReportSsdCapacity: call('ReportSsdCapacity', [clientId, i64], done),
    NotifyOffloadSuccess: call(
      'NotifyOffloadSuccess',
      [clientId, offloaded, list(storageObjectMetadata)],
      done,
    ),
    EvictDiskReplica: call('EvictDiskReplica', [clientId, objectKey, tenantId, replicaType], done),
    BatchEvictDiskReplica: call(
      'BatchEvictDiskReplica',
      [clientId, keys, tenantId, replicaType],
      eachDone,
    ),
    PromotionObjectHeartbeat: call('PromotionObjectHeartbeat', [clientId], expected(diskTasks)),
    PromotionAllocStart: call(
      'PromotionAllocStart',
      [clientId, objectKey, tenantId, size, list(endpoint)],
      answers.promotionStarted,
    ),
    NotifyPromotionSuccess: call('NotifyPromotionSuccess', [clientId, objectKey, tenantId], done),
    NotifyPromotionFailure: call('NotifyPromotionFailure', [clientId, objectKey, tenantId], done),

    CopyStart: call(
      'CopyStart',
      [clientId, objectKey, tenantId, endpoint, list(endpoint)],
      answers.copyStarted,
    ),
    CopyEnd: call('CopyEnd', [clientId, objectKey, tenantId], done),
    CopyRevoke: call('CopyRevoke', [clientId, objectKey, tenantId], done),
    DynamicReplicaCopyStart: call(
      'DynamicReplicaCopyStart',
      [clientId, objectKey, tenantId, endpoint, list(endpoint), uuid, size],
      answers.copyStarted,
    ),
    DynamicReplicaCopyEnd: call(
      'DynamicReplicaCopyEnd',
      [clientId, objectKey, tenantId, uuid, size],
      done,
    ),
    DynamicReplicaCopyRevoke: call(
      'DynamicReplicaCopyRevoke',
      [clientId, objectKey, tenantId, uuid, size],
      done,
    ),
    MoveStart: call(
      'MoveStart',
      [clientId, objectKey, tenantId, endpoint, endpoint],
      answers.moveStarted,
    ),
    MoveEnd: call('MoveEnd', [clientId, objectKey, tenantId], done),
    MoveRevoke: call('MoveRevoke', [clientId, objectKey, tenantId], done),
    CreateCopyTask: call('CreateCopyTask', [objectKey, tenantId, list(endpoint)], expected(uuid)),
    CreateMoveTask: call(
      'CreateMoveTask',
      [objectKey, tenantId, endpoint, endpoint],
      expected(uuid),
    ),
    QueryTask: call('QueryTask', [uuid], expected(queryTaskResponse)),
    FetchTasks: call('FetchTasks', [clientId, size], expected(list(taskAssignment))),
    MarkTaskToComplete: call('MarkTaskToComplete', [clientId, taskCompleteRequest], done),

    // New in 0.3.14.
    ProbeKey: call('ProbeKey', [objectKey, tenantId], expected(bool)),
    BatchProbeKey: call(
      'BatchProbeKey',
      [probeOptions, soughtKeys, tenantId],
      list(expected(bool)),
    ),
    GetReplicaListForAdmin: call('GetReplicaListForAdmin', [objectKey, tenantId], answers.found),
    BatchGetReplicaListForAdmin: call(
      'BatchGetReplicaListForAdmin',
      [soughtKeys, tenantId],
      list(answers.found),
    ),
    RegisterPrefetchTask: call('RegisterPrefetchTask', [clientId, objectKey, tenantId], done),
  } as const;
}

export type MasterProtocol = ReturnType<typeof masterCalls>;

/** In the layouts of 0.3.13, which are those of most calls of 0.3.14 too. */
export const masterProtocol: MasterProtocol = masterCalls(currentParts);
