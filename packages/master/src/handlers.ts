import type { Handlers } from '@tsukimi/rpc';
import {
  ErrorCode,
  type Expected,
  type MasterProtocol,
  type ReplicaDescriptor,
  ReplicaType,
  type ReplicateConfig,
  type Uuid,
} from '@tsukimi/wire';
import type { CallTallies } from './call-tallies.ts';
import type { MasterCore } from './core/master-core.ts';

/** What a client must find here to work with us; unchanged in all releases so far. */
const serviceVersion = '2.0.0';

const yes: Expected<boolean> = Object.freeze({ ok: true });
const no: Expected<boolean> = Object.freeze({ ok: false });

export interface HandlerPorts {
  readonly core: MasterCore;
  readonly tallies: CallTallies;
  /** Called after whatever may have taken space. */
  readonly onAllocated: () => void;
  /** Called after a segment was told to go in so many milliseconds. */
  readonly onGracePeriod: (graceMs: number) => void;
}

/**
 * All calls of the master. Tenants are one: their names are ignored, as Mooncake does without
 * `--enable_multi_tenants`. Disk tiers, tasks, copies and moves are answered as not supported.
 */
export function masterHandlers(ports: HandlerPorts): Handlers<MasterProtocol> {
  return {
    ...unsupportedHandlers,
    ...readHandlers(ports),
    ...writeHandlers(ports),
    ...removeHandlers(ports),
    ...segmentHandlers(ports),
  };
}

function readHandlers({ core, tallies }: HandlerPorts) {
  return {
    ExistKey: tallies.counted('exist_key', ([key]) => (core.exist(key) ? yes : no)),
    BatchExistKey: tallies.countedBatch('exist_key', ([keys]) =>
      keys.map((key) => (core.exist(key) ? yes : no)),
    ),
    GetReplicaList: tallies.counted('get_replica_list', ([key]) => core.find(key)),
    BatchGetReplicaList: tallies.countedBatch('get_replica_list', ([keys]) =>
      keys.map((key) => core.find(key)),
    ),
    GetReplicaListByRegex: tallies.counted('get_replica_list_by_regex', ([pattern]) =>
      core.findMatching(pattern),
    ),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

function writeHandlers({ core, tallies, onAllocated }: HandlerPorts) {
  const startPut = core.putStart.bind(core);
  const startUpsert = core.upsertStart.bind(core);
  const started = <R>(result: R): R => {
    onAllocated();
    return result;
  };
  return {
    PutStart: tallies.counted('put_start', ([client, key, byteCount, config]) =>
      started(startPut(client, key, byteCount, config)),
    ),
    PutEnd: tallies.counted('put_end', ([client, meta, type]) =>
      core.putEnd(client, meta.key, meta.objectChecksum, type),
    ),
    PutRevoke: tallies.counted('put_revoke', ([client, key, type]) =>
      core.putRevoke(client, key, type),
    ),
    BatchPutStart: tallies.countedBatch('put_start', ([client, keys, byteCounts, config]) =>
      started(startEach(startPut, client, keys, byteCounts, config)),
    ),
    BatchPutEnd: tallies.countedBatch('put_end', ([client, metas, type]) =>
      metas.map((meta) => core.putEnd(client, meta.key, meta.objectChecksum, type)),
    ),
    BatchPutRevoke: tallies.countedBatch('put_revoke', ([client, keys, type]) =>
      keys.map((key) => core.putRevoke(client, key, type)),
    ),
    UpsertStart: ([client, key, byteCount, config]) =>
      started(startUpsert(client, key, byteCount, config)),
    UpsertEnd: ([client, meta, type]) => core.putEnd(client, meta.key, meta.objectChecksum, type),
    UpsertRevoke: ([client, key, type]) => core.putRevoke(client, key, type),
    BatchUpsertStart: ([client, keys, byteCounts, config]) =>
      started(startEach(startUpsert, client, keys, byteCounts, config)),
    BatchUpsertEnd: ([client, metas]) =>
      metas.map((meta) => core.putEnd(client, meta.key, meta.objectChecksum, ReplicaType.ALL)),
    BatchUpsertRevoke: ([client, keys]) =>
      keys.map((key) => core.putRevoke(client, key, ReplicaType.ALL)),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

/** With `preferAllocInSameNode`, all objects of a batch follow the first. */
function startEach(
  start: MasterCore['putStart'],
  client: Uuid,
  keys: readonly string[],
  byteCounts: readonly number[],
  config: ReplicateConfig,
): Expected<readonly ReplicaDescriptor[]>[] {
  const count = keys.length;
  if (byteCounts.length !== count) return keys.map(() => ({ error: ErrorCode.INVALID_PARAMS }));
  let placed = config;
  return keys.map((key, index) => {
    const result = start(client, key, byteCounts[index] as number, placed, { index, count });
    if (config.preferAllocInSameNode && placed === config && 'ok' in result) {
      const location = result.ok[0]?.location;
      if (location?.kind === 'memory') {
        placed = { ...config, preferredSegment: location.buffer.transportEndpoint };
      }
    }
    return result;
  });
}

function removeHandlers({ core, tallies }: HandlerPorts) {
  const removeAll = tallies.counted('remove_all', (force: boolean) => ({
    ok: core.removeAll(force),
  }));
  return {
    Remove: tallies.counted('remove', ([key, force]) => core.remove(key, force)),
    BatchRemove: ([keys, force]) => keys.map((key) => core.remove(key, force)),
    RemoveByRegex: tallies.counted('remove_by_regex', ([pattern, force]) =>
      core.removeMatching(pattern, force),
    ),
    RemoveAll: ([force]) => removeAll(force).ok,
    PollRemoveAll: () => no,
    BatchReplicaClear: ([keys, client, segmentName]) => ({
      ok: core.clearReplicas(keys, client, segmentName),
    }),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

function segmentHandlers({ core, tallies, onGracePeriod }: HandlerPorts) {
  return {
    ServiceReady: () => ({ ok: serviceVersion }),
    GetFsdir: () => ({ ok: '' }),
    GetStorageConfig: () => ({ ok: { fsdir: '', enableDiskEviction: true, quotaBytes: 0 } }),
    FetchTasks: tallies.counted('fetch_tasks', () => ({ ok: [] })),
    GetAllNoFSegments: () => ({ ok: [] }),
    GetNoFSegmentsByName: () => ({ ok: [] }),
    Ping: tallies.counted('ping', ([client]) => ({
      ok: { viewVersionId: 0, clientStatus: core.ping(client) },
    })),
    MountSegment: tallies.counted('mount_segment', ([segment, client]) =>
      core.mountSegment(segment, client),
    ),
    ReMountSegment: tallies.counted('remount_segment', ([segments, client]) =>
      core.remountSegments(segments, client),
    ),
    UnmountSegment: tallies.counted('unmount_segment', ([segment, client]) =>
      core.unmountSegment(segment, client),
    ),
    GracefulUnmountSegment: ([segment, client, graceMs]) => {
      const result = core.unmountSegmentGracefully(segment, client, graceMs);
      if ('ok' in result) onGracePeriod(graceMs);
      return result;
    },
    QuerySegmentStatus: ([name]) => core.segmentStatus(name),
    QuerySegmentStatusById: ([id]) => core.segmentStatusById(id),
    BatchQueryIp: ([clients]) => ({
      ok: clients.flatMap((client) => {
        const endpoints = core.endpointsOf(client);
        return endpoints === null ? [] : [[client, hostsOf(endpoints)] as const];
      }),
    }),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

/** `10.0.0.1:15001` and `[::1]:15001` without their ports, each once. */
function hostsOf(endpoints: readonly string[]): string[] {
  return [...new Set(endpoints.map((endpoint) => endpoint.replace(/:\d+$/, '')))];
}

const unsupported = () => ({ error: ErrorCode.NOT_SUPPORTED });

const unsupportedHandlers = {
  MountNoFSegment: unsupported,
  ReMountNoFSegment: unsupported,
  UnmountNoFSegment: unsupported,
  MountLocalDiskSegment: unsupported,
  UnmountLocalDiskSegment: unsupported,
  OffloadObjectHeartbeat: unsupported,
  ReportSsdCapacity: unsupported,
  NotifyOffloadSuccess: unsupported,
  EvictDiskReplica: unsupported,
  BatchEvictDiskReplica: ([, keys]) => keys.map(unsupported),
  PromotionObjectHeartbeat: unsupported,
  PromotionAllocStart: unsupported,
  NotifyPromotionSuccess: unsupported,
  NotifyPromotionFailure: unsupported,
  CopyStart: unsupported,
  CopyEnd: unsupported,
  CopyRevoke: unsupported,
  DynamicReplicaCopyStart: unsupported,
  DynamicReplicaCopyEnd: unsupported,
  DynamicReplicaCopyRevoke: unsupported,
  MoveStart: unsupported,
  MoveEnd: unsupported,
  MoveRevoke: unsupported,
  CreateCopyTask: unsupported,
  CreateMoveTask: unsupported,
  QueryTask: unsupported,
  MarkTaskToComplete: unsupported,
} satisfies Partial<Handlers<MasterProtocol>>;
