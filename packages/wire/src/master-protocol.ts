/**
 * Every call of Mooncake's master, in the layouts of release 0.3.13.post1.
 *
 * Numbers and type codes follow from names and types; none is typed in. A release with other
 * layouts will be another table of the same names.
 */
import { bool, expected, i32, i64, list, map, nothing, passingTexts, size, text } from './codec.ts';
import {
  endpoint,
  getReplicaListResponse,
  objectKey,
  objectMeta,
  replicaDescriptor,
  replicateConfig,
  tenantId,
} from './messages/objects.ts';
import {
  nofSegment,
  nofSegmentOwner,
  pingResponse,
  segment,
  storageConfig,
} from './messages/segments.ts';
import {
  copyStartResponse,
  diskTaskItem,
  moveStartResponse,
  promotionAllocStartResponse,
  queryTaskResponse,
  storageObjectMetadata,
  taskAssignment,
  taskCompleteRequest,
} from './messages/tasks.ts';
import { methodOf } from './protocol.ts';
import { uuid } from './uuid.ts';

const call = methodOf('mooncake::WrappedMasterService');

const clientId = uuid;
const keys = list(objectKey, 2 ** 16);
/** Keys that are looked up; nobody keeps them. */
const soughtKeys = passingTexts(2 ** 16, 2 ** 16);
const regex = text(2 ** 12);
const force = bool;
const replicaType = i32;
const sliceLength = size;
const done = expected(nothing);
const eachDone = list(done);
const replicas = list(replicaDescriptor);

export const masterProtocol = {
  ServiceReady: call('ServiceReady', [], expected(text())),
  GetFsdir: call('GetFsdir', [], expected(text())),
  GetStorageConfig: call('GetStorageConfig', [], expected(storageConfig)),

  ExistKey: call('ExistKey', [objectKey, tenantId], expected(bool)),
  BatchExistKey: call('BatchExistKey', [soughtKeys, tenantId], list(expected(bool))),
  GetReplicaList: call('GetReplicaList', [objectKey, tenantId], expected(getReplicaListResponse)),
  BatchGetReplicaList: call(
    'BatchGetReplicaList',
    [soughtKeys, tenantId],
    list(expected(getReplicaListResponse)),
  ),
  GetReplicaListByRegex: call(
    'GetReplicaListByRegex',
    [regex, tenantId],
    expected(map(objectKey, replicas)),
  ),
  BatchReplicaClear: call('BatchReplicaClear', [keys, clientId, endpoint], expected(keys)),

  PutStart: call(
    'PutStart',
    [clientId, objectKey, sliceLength, replicateConfig, tenantId],
    expected(replicas),
  ),
  PutEnd: call('PutEnd', [clientId, objectMeta, replicaType, tenantId], done),
  PutRevoke: call('PutRevoke', [clientId, objectKey, replicaType, tenantId], done),
  BatchPutStart: call(
    'BatchPutStart',
    [clientId, keys, list(sliceLength), replicateConfig, tenantId],
    list(expected(replicas)),
  ),
  BatchPutEnd: call('BatchPutEnd', [clientId, list(objectMeta), replicaType, tenantId], eachDone),
  BatchPutRevoke: call('BatchPutRevoke', [clientId, keys, replicaType, tenantId], eachDone),
  UpsertStart: call(
    'UpsertStart',
    [clientId, objectKey, sliceLength, replicateConfig, tenantId],
    expected(replicas),
  ),
  UpsertEnd: call('UpsertEnd', [clientId, objectMeta, replicaType, tenantId], done),
  UpsertRevoke: call('UpsertRevoke', [clientId, objectKey, replicaType, tenantId], done),
  BatchUpsertStart: call(
    'BatchUpsertStart',
    [clientId, keys, list(sliceLength), replicateConfig, tenantId],
    list(expected(replicas)),
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
  BatchQueryIp: call('BatchQueryIp', [list(clientId)], expected(map(clientId, list(endpoint)))),
  MountNoFSegment: call('MountNoFSegment', [nofSegment, clientId], done),
  ReMountNoFSegment: call('ReMountNoFSegment', [list(nofSegment), clientId], done),
  UnmountNoFSegment: call('UnmountNoFSegment', [uuid, clientId], done),
  GetAllNoFSegments: call('GetAllNoFSegments', [], expected(list(nofSegment))),
  GetNoFSegmentsByName: call('GetNoFSegmentsByName', [endpoint], expected(list(nofSegmentOwner))),

  MountLocalDiskSegment: call('MountLocalDiskSegment', [clientId, bool], done),
  UnmountLocalDiskSegment: call('UnmountLocalDiskSegment', [clientId], done),
  OffloadObjectHeartbeat: call(
    'OffloadObjectHeartbeat',
    [clientId, bool],
    expected(list(diskTaskItem)),
  ),
  ReportSsdCapacity: call('ReportSsdCapacity', [clientId, i64], done),
  NotifyOffloadSuccess: call(
    'NotifyOffloadSuccess',
    [clientId, list(diskTaskItem), list(storageObjectMetadata)],
    done,
  ),
  EvictDiskReplica: call('EvictDiskReplica', [clientId, objectKey, tenantId, replicaType], done),
  BatchEvictDiskReplica: call(
    'BatchEvictDiskReplica',
    [clientId, keys, tenantId, replicaType],
    eachDone,
  ),
  PromotionObjectHeartbeat: call(
    'PromotionObjectHeartbeat',
    [clientId],
    expected(list(diskTaskItem)),
  ),
  PromotionAllocStart: call(
    'PromotionAllocStart',
    [clientId, objectKey, tenantId, size, list(endpoint)],
    expected(promotionAllocStartResponse),
  ),
  NotifyPromotionSuccess: call('NotifyPromotionSuccess', [clientId, objectKey, tenantId], done),
  NotifyPromotionFailure: call('NotifyPromotionFailure', [clientId, objectKey, tenantId], done),

  CopyStart: call(
    'CopyStart',
    [clientId, objectKey, tenantId, endpoint, list(endpoint)],
    expected(copyStartResponse),
  ),
  CopyEnd: call('CopyEnd', [clientId, objectKey, tenantId], done),
  CopyRevoke: call('CopyRevoke', [clientId, objectKey, tenantId], done),
  DynamicReplicaCopyStart: call(
    'DynamicReplicaCopyStart',
    [clientId, objectKey, tenantId, endpoint, list(endpoint), uuid, size],
    expected(copyStartResponse),
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
    expected(moveStartResponse),
  ),
  MoveEnd: call('MoveEnd', [clientId, objectKey, tenantId], done),
  MoveRevoke: call('MoveRevoke', [clientId, objectKey, tenantId], done),
  CreateCopyTask: call('CreateCopyTask', [objectKey, tenantId, list(endpoint)], expected(uuid)),
  CreateMoveTask: call('CreateMoveTask', [objectKey, tenantId, endpoint, endpoint], expected(uuid)),
  QueryTask: call('QueryTask', [uuid], expected(queryTaskResponse)),
  FetchTasks: call('FetchTasks', [clientId, size], expected(list(taskAssignment))),
  MarkTaskToComplete: call('MarkTaskToComplete', [clientId, taskCompleteRequest], done),
} as const;

export type MasterProtocol = typeof masterProtocol;
