import type { Handlers } from '@tsukimi/rpc';
import {
  ErrorCode,
  type Expected,
  type MasterProtocol,
  type ReplicaDescriptor,
  ReplicaType,
  type ReplicateConfig,
  type StorageConfig,
  type Uuid,
} from '@tsukimi/wire';
import type { CallTallies } from './call-tallies.ts';
import type { MasterCore } from './core/master-core.ts';
import type { LongWork, Steps } from './long-work.ts';
import { probeHandlers } from './probe-handlers.ts';
import { taskHandlers } from './task-handlers.ts';

/** What a client must find here to work with us; unchanged in all releases so far. */
const serviceVersion = '2.0.0';

const yes: Expected<boolean> = Object.freeze({ ok: true });
const no: Expected<boolean> = Object.freeze({ ok: false });

export interface HandlerPorts {
  readonly core: MasterCore;
  readonly tallies: CallTallies;
  readonly longWork: LongWork;
  /** What clients are told of the directory that they share. */
  readonly storage: StorageConfig;
  /** Called after whatever may have taken space. */
  readonly onAllocated: () => void;
  /** Called after a segment was told to go in so many milliseconds. */
  readonly onGracePeriod: (graceMs: number) => void;
  /** Which election made this master the leader; 0 without others. */
  readonly viewVersion: () => number;
}

/**
 * All calls of the master. Tenants are one: their names are ignored, as Mooncake does without
 * `--enable_multi_tenants`.
 */
export function masterHandlers(ports: HandlerPorts): Handlers<MasterProtocol> {
  return {
    ...readHandlers(ports),
    ...probeHandlers(ports),
    ...writeHandlers(ports),
    ...removeHandlers(ports),
    ...segmentHandlers(ports),
    ...localDiskHandlers(ports),
    ...fabricHandlers(ports),
    ...taskHandlers(ports.core, ports.tallies),
  };
}

function readHandlers(ports: HandlerPorts) {
  const { core, tallies } = ports;
  return {
    ExistKey: tallies.counted('exist_key', ([key, tenant]) => (core.exist(key, tenant) ? yes : no)),
    BatchExistKey: tallies.countedBatch('exist_key', ([keys, tenant]) =>
      keys.map((key) => (core.exist(key, tenant) ? yes : no)),
    ),
    GetReplicaList: tallies.counted('get_replica_list', ([key, tenant]) => core.find(key, tenant)),
    BatchGetReplicaList: tallies.countedBatch('get_replica_list', ([keys, tenant]) =>
      keys.map((key) => core.find(key, tenant)),
    ),
    GetReplicaListByRegex: inSteps('get_replica_list_by_regex', ports, ([pattern, tenant]) =>
      core.findMatching(pattern, tenant),
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
    PutStart: tallies.counted('put_start', ([client, key, byteCount, config, tenant]) =>
      started(startPut(client, key, byteCount, config, tenant)),
    ),
    PutEnd: tallies.counted('put_end', ([client, meta, type, tenant]) =>
      core.putEnd(client, meta.key, meta.objectChecksum, type, tenant),
    ),
    PutRevoke: tallies.counted('put_revoke', ([client, key, type, tenant]) =>
      core.putRevoke(client, key, type, tenant),
    ),
    BatchPutStart: tallies.countedBatch('put_start', ([client, keys, byteCounts, config, tenant]) =>
      started(startEach(startPut, client, keys, byteCounts, config, tenant)),
    ),
    BatchPutEnd: tallies.countedBatch('put_end', ([client, metas, type, tenant]) =>
      metas.map((meta) => core.putEnd(client, meta.key, meta.objectChecksum, type, tenant)),
    ),
    BatchPutRevoke: tallies.countedBatch('put_revoke', ([client, keys, type, tenant]) =>
      keys.map((key) => core.putRevoke(client, key, type, tenant)),
    ),
    UpsertStart: ([client, key, byteCount, config, tenant]) =>
      started(startUpsert(client, key, byteCount, config, tenant)),
    UpsertEnd: ([client, meta, type, tenant]) =>
      core.putEnd(client, meta.key, meta.objectChecksum, type, tenant),
    UpsertRevoke: ([client, key, type, tenant]) => core.putRevoke(client, key, type, tenant),
    BatchUpsertStart: ([client, keys, byteCounts, config, tenant]) =>
      started(startEach(startUpsert, client, keys, byteCounts, config, tenant)),
    BatchUpsertEnd: ([client, metas, tenant]) =>
      metas.map((meta) =>
        core.putEnd(client, meta.key, meta.objectChecksum, ReplicaType.ALL, tenant),
      ),
    BatchUpsertRevoke: ([client, keys, tenant]) =>
      keys.map((key) => core.putRevoke(client, key, ReplicaType.ALL, tenant)),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

/** With `preferAllocInSameNode`, all objects of a batch follow the first. */
function startEach(
  start: MasterCore['putStart'],
  client: Uuid,
  keys: readonly string[],
  byteCounts: readonly number[],
  config: ReplicateConfig,
  tenant: string,
): Expected<readonly ReplicaDescriptor[]>[] {
  const count = keys.length;
  if (byteCounts.length !== count) return keys.map(() => ({ error: ErrorCode.INVALID_PARAMS }));
  let placed = config;
  return keys.map((key, index) => {
    const result = start(client, key, byteCounts[index] as number, placed, tenant, {
      index,
      count,
    });
    if (config.preferAllocInSameNode && placed === config && 'ok' in result) {
      const location = result.ok[0]?.location;
      if (location?.kind === 'memory') {
        placed = { ...config, preferredSegment: location.buffer.transportEndpoint };
      }
    }
    return result;
  });
}

function removeHandlers(ports: HandlerPorts) {
  const { core, tallies, longWork } = ports;
  const countRemoveAll = tallies.counted('remove_all', (count: number) => ({ ok: count }));
  return {
    Remove: tallies.counted('remove', ([key, force, tenant]) => core.remove(key, force, tenant)),
    BatchRemove: ([keys, force, tenant]) => keys.map((key) => core.remove(key, force, tenant)),
    RemoveByRegex: inSteps('remove_by_regex', ports, ([pattern, force, tenant]) =>
      core.removeMatching(pattern, force, tenant),
    ),
    RemoveAll: ([force, tenant]) =>
      whenDone(
        longWork.run(core.removeAll(force, tenant === '' ? null : tenant)),
        (count) => countRemoveAll(count).ok,
      ),
    BatchReplicaClear: tallies.countedSelection(
      'replica_clear',
      ([keys]) => keys.length,
      ([keys, client, segmentName, tenant]) => ({
        ok: core.clearReplicas(keys, client, segmentName, tenant),
      }),
    ),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

/** A handler that looks at all keys, and is counted when it is through. */
function inSteps<A, R extends Expected<unknown>>(
  name: string,
  { tallies, longWork }: HandlerPorts,
  begin: (args: A) => Steps<R>,
): (args: A) => R | Promise<R> {
  const counted = tallies.counted(name, (result: R) => result);
  return (args) => whenDone(longWork.run(begin(args)), counted);
}

function whenDone<T, R>(result: T | Promise<T>, then: (result: T) => R): R | Promise<R> {
  return result instanceof Promise ? result.then(then) : then(result);
}

function segmentHandlers(ports: HandlerPorts) {
  const { core, tallies, storage, onGracePeriod, viewVersion } = ports;
  return {
    ServiceReady: () => ({ ok: serviceVersion }),
    GetFsdir: () => ({ ok: storage.fsdir }),
    GetStorageConfig: () => ({ ok: storage }),
    Ping: tallies.counted('ping', ([client]) => ({
      ok: { viewVersionId: viewVersion(), clientStatus: core.ping(client) },
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
    BatchQueryIp: tallies.countedSelection(
      'query_ip',
      ([clients]) => clients.length,
      ([clients]) => ({
        ok: clients.flatMap((client) => {
          const endpoints = core.endpointsOf(client);
          return endpoints === null ? [] : [[client, hostsOf(endpoints)] as const];
        }),
      }),
    ),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

function localDiskHandlers({ core: { localDisks }, tallies, onAllocated }: HandlerPorts) {
  return {
    MountLocalDiskSegment: ([client, isOffloading]) => localDisks.mount(client, isOffloading),
    UnmountLocalDiskSegment: ([client]) => localDisks.unmount(client),
    ReportSsdCapacity: ([client, byteCount]) => localDisks.reportCapacity(client, byteCount),
    OffloadObjectHeartbeat: ([client, isOffloading]) =>
      localDisks.takeOffloads(client, isOffloading),
    NotifyOffloadSuccess: ([client, tasks, metadatas]) => {
      if (tasks.length !== metadatas.length) return { error: ErrorCode.INVALID_PARAMS };
      const reports = tasks.map(({ tenantId, key }, index) => {
        const { dataSize, transportEndpoint } = metadatas[index] as (typeof metadatas)[number];
        return { tenant: tenantId, key, byteCount: dataSize, transportEndpoint };
      });
      const result = localDisks.report(client, reports);
      onAllocated();
      return result;
    },
    EvictDiskReplica: tallies.counted('evict_disk_replica', ([client, key, tenant, type]) =>
      localDisks.evict(client, key, type, tenant),
    ),
    BatchEvictDiskReplica: ([client, keys, tenant, type]) =>
      keys.map((key) => localDisks.evict(client, key, type, tenant)),
    PollRemoveAll: ([client]) => localDisks.pollRemoveAll(client),
    PromotionObjectHeartbeat: ([client]) => localDisks.takePromotions(client),
    PromotionAllocStart: ([client, key, tenant, byteCount, preferredSegments]) => {
      const result = localDisks.startPromotion(client, key, byteCount, preferredSegments, tenant);
      onAllocated();
      return result;
    },
    NotifyPromotionSuccess: ([client, key, tenant]) => localDisks.promoted(client, key, tenant),
    NotifyPromotionFailure: ([client, key, tenant]) => localDisks.notPromoted(client, key, tenant),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

/** `10.0.0.1:15001` and `[::1]:15001` without their ports, each once. */
function hostsOf(endpoints: readonly string[]): string[] {
  return [...new Set(endpoints.map((endpoint) => endpoint.replace(/:\d+$/, '')))];
}

/** The published master was built without storage targets over fabrics, and says so. */
const unavailable = () => ({ error: ErrorCode.UNAVAILABLE_IN_CURRENT_MODE });

function fabricHandlers({ tallies }: HandlerPorts) {
  return {
    MountNoFSegment: tallies.counted('mount_nof_segment', unavailable),
    ReMountNoFSegment: tallies.counted('remount_nof_segment', unavailable),
    UnmountNoFSegment: tallies.counted('unmount_nof_segment', unavailable),
    GetAllNoFSegments: () => ({ ok: [] }),
    GetNoFSegmentsByName: () => ({ error: ErrorCode.SEGMENT_NOT_FOUND }),
  } satisfies Partial<Handlers<MasterProtocol>>;
}
