import { configOf, segmentOf, uuid } from '@tsukimi/master/testing';
import { ReplicaType, type Uuid } from '@tsukimi/wire';
import type { MasterScript, Scenario } from './master-script.ts';

const [holder, writer, other] = [uuid(1), uuid(2), uuid(3)];
const { MEMORY, DISK, LOCAL_DISK, ALL } = ReplicaType;
const tenant = 'default';
const mebibyte = 2 ** 20;
const one = segmentOf(1, 16 * mebibyte);
const two = segmentOf(2, 16 * mebibyte);
const meta = (key: string, objectChecksum: bigint | null = null) => ({ key, objectChecksum });
const fileMetrics = [
  'master_key_count',
  'master_allocated_file_size_bytes',
  'master_total_file_capacity_bytes',
  'mem_cache_nums_',
  'file_cache_nums_',
  'mem_cache_hit_nums_',
  'file_cache_hit_nums_',
  'file_cache_hit_bytes_total',
  'valid_get_nums_',
];
const promotionMetrics = [
  'in_flight',
  ...['admitted', 'completed', 'cancelled', 'expired', 'failed'].map((name) => `${name}_total`),
  ...['cap', 'frequency', 'watermark'].map((name) => `rejected_${name}_total`),
  'completed_bytes_total',
].map((name) => `master_promotion_${name}`);

const task = (key: string, size: number, tenantId = tenant) => ({ tenantId, key, size });
const written = (dataSize: number, transportEndpoint = 'disk:1') => ({
  bucketId: 0,
  offset: 0,
  keySize: 1,
  dataSize,
  transportEndpoint,
});

async function mounted(script: MasterScript, client: Uuid, segment = one): Promise<void> {
  await script.call('MountSegment', segment, client);
  await script.call('ReMountSegment', [segment], client);
}

/** Files that all clients share: written after the memory, told of apart. */
const sharedFiles: Scenario = {
  name: 'copies in a shared directory',
  flags: [
    '--root_fs_dir={directory}',
    '--cluster_id=pool',
    '--quota_bytes=123456',
    '--global_file_segment_size=1000000',
    '--default_kv_lease_ttl=200',
  ],
  async play(script) {
    await script.call('GetFsdir');
    await script.call('GetStorageConfig');
    await script.metrics(...fileMetrics);
    await mounted(script, holder);
    for (const key of ['k', 'a/b:c', 'ключ', 'a long key of more than sixteen bytes', 'x']) {
      await script.call('PutStart', writer, key, 100, configOf(), tenant);
    }
    await script.metrics(...fileMetrics);
    await script.call('PutEnd', writer, meta('k', 4n), ALL, tenant);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('Remove', 'k', true, tenant);
    await script.call('PutEnd', writer, meta('k'), ALL, tenant);
    await script.call('PutRevoke', writer, 'k', MEMORY, tenant);
    await script.call('PutEnd', writer, meta('k'), DISK, tenant);
    await script.call('PutEnd', writer, meta('k'), DISK, tenant);
    await script.call('PutRevoke', writer, 'k', DISK, tenant);
    await script.call('GetReplicaList', 'k', tenant);
    await script.metrics(...fileMetrics);

    await script.call('PutRevoke', writer, 'a/b:c', ALL, tenant);
    await script.call('GetReplicaList', 'a/b:c', tenant);
    await script.call('PutEnd', writer, meta('a/b:c', 6n), DISK, tenant);
    await script.call('GetReplicaList', 'a/b:c', tenant);
    await script.call('PutRevoke', writer, 'ключ', DISK, tenant);
    await script.call('PutEnd', writer, meta('ключ', 6n), MEMORY, tenant);
    await script.call('GetReplicaList', 'ключ', tenant);
    await script.metrics(...fileMetrics);

    await script.call('UpsertStart', writer, 'k', 100, configOf(), tenant);
    await script.call('UpsertEnd', writer, meta('k', 8n), ALL, tenant);
    await script.call('GetReplicaList', 'k', tenant);
    await script.metrics(...fileMetrics);
    await script.call('UpsertStart', other, 'k', 200, configOf(), tenant);
    await script.call('UpsertEnd', other, meta('k', 8n), ALL, tenant);
    await script.call('PutEnd', other, meta('k', 9n), DISK, tenant);
    await script.call('GetReplicaList', 'k', tenant);

    await script.call('EvictDiskReplica', other, 'k', tenant, MEMORY);
    await script.call('EvictDiskReplica', other, 'none', tenant, MEMORY);
    await script.call('EvictDiskReplica', other, 'k', tenant, LOCAL_DISK);
    await script.call('EvictDiskReplica', other, 'k', tenant, DISK);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('BatchEvictDiskReplica', other, ['a/b:c', 'none', 'k'], tenant, DISK);
    await script.call('GetReplicaList', 'a/b:c', tenant);
    // The other counts bytes that lost their object until they are used again.
    const exactMetrics = fileMetrics.filter((name) => !name.includes('allocated'));
    await script.metrics(...exactMetrics);

    await script.put('both', 50);
    await script.call('PutEnd', writer, meta('both'), DISK, tenant);
    await script.put('half', 50);
    await script.admin('/batch_query_keys?keys=both,half');
    await script.admin('/query_key?key=both');
    await script.call('UnmountSegment', one.id, holder);
    await script.call('GetReplicaListByRegex', 'both|half', tenant);
    await script.call('ExistKey', 'half', tenant);
    await script.call('PutEnd', writer, meta('half'), DISK, tenant);
    await script.call('GetReplicaList', 'half', tenant);
    await script.metrics(...exactMetrics);
  },
};

/** Objects go to their holder's disk as they are written, and are found there again. */
const offload: Scenario = {
  name: 'offload as objects are put',
  flags: [
    '--enable_offload=true',
    '--default_kv_lease_ttl=200',
    '--client_ttl=2',
    '--offloading_queue_limit=3',
  ],
  async play(script) {
    const heartbeat = (client: Uuid, isOn = true) =>
      script.call('OffloadObjectHeartbeat', client, isOn);
    await heartbeat(holder);
    await script.call('ReportSsdCapacity', holder, 1_000);
    await script.call('PollRemoveAll', holder);
    await script.call('PromotionObjectHeartbeat', holder);
    await script.call('UnmountLocalDiskSegment', holder);
    await script.call('NotifyOffloadSuccess', holder, [task('early', 10)], [written(10)]);
    await script.call('NotifyOffloadSuccess', holder, [task('early', 10)], []);
    await mounted(script, holder);
    await script.put('before', 10);
    await script.call('MountLocalDiskSegment', holder, true);
    await script.call('MountLocalDiskSegment', holder, false);
    await script.call('ReportSsdCapacity', holder, -1);
    await script.call('ReportSsdCapacity', holder, 5_000);
    await script.metrics(...fileMetrics);
    await script.put('k', 100);
    await script.call('UpsertStart', writer, 'k', 100, configOf(), tenant);
    await heartbeat(holder);
    await script.call('UpsertEnd', writer, meta('k'), ALL, tenant);
    await heartbeat(holder);
    await heartbeat(holder);
    await script.call('UpsertStart', writer, 'k', 100, configOf(), tenant);
    await script.call('UpsertStart', writer, 'k', 200, configOf(), tenant);
    await script.call('NotifyOffloadSuccess', holder, [task('k', 100)], [written(100)]);
    await script.call('GetReplicaList', 'k', tenant);
    await script.metrics(...fileMetrics);
    await script.call('NotifyOffloadSuccess', holder, [task('k', 100)], [written(100)]);
    await script.call('NotifyOffloadSuccess', other, [task('k', 100)], [written(100)]);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('NotifyOffloadSuccess', holder, [task('found', 70)], [written(70)]);
    await script.call('GetReplicaList', 'found', tenant);
    await script.call('PutStart', writer, 'found', 70, configOf(), tenant);
    await script.call('PutEnd', holder, meta('found'), LOCAL_DISK, tenant);
    await script.call('PutRevoke', holder, 'found', LOCAL_DISK, tenant);
    await script.metrics(...fileMetrics);

    for (const key of ['q1', 'q2', 'q3', 'q4']) await script.put(key, 10);
    const taken = await script.quietly('OffloadObjectHeartbeat', holder, true);
    const keys = 'ok' in taken ? taken.ok.map(({ key }) => key).toSorted() : [];
    script.lines.push(['taken', keys]);
    await script.call(
      'NotifyOffloadSuccess',
      holder,
      [task('q1', 10), task('q2', 10)],
      [written(-1), written(10)],
    );
    await script.call('GetReplicaListByRegex', '^q2', tenant);
    await script.call('Remove', 'q3', true, tenant);
    await script.call('NotifyOffloadSuccess', holder, [task('q3', 10)], [written(10)]);
    await script.call('GetReplicaList', 'q3', tenant);
    await script.put('q5', 10);
    await heartbeat(holder, false);
    await script.put('q6', 10);
    await heartbeat(holder);
    await script.call('UpsertStart', writer, 'q5', 10, configOf(), tenant);
    await script.call('UpsertEnd', writer, meta('q5'), ALL, tenant);
    await heartbeat(holder);

    await script.call('EvictDiskReplica', other, 'k', tenant, LOCAL_DISK);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('EvictDiskReplica', holder, 'k', tenant, LOCAL_DISK);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('EvictDiskReplica', holder, 'found', tenant, LOCAL_DISK);
    await script.call('GetReplicaList', 'found', tenant);
    await script.call('BatchEvictDiskReplica', holder, ['q3', 'none'], tenant, LOCAL_DISK);
    await script.metrics(...fileMetrics);

    await script.call('PollRemoveAll', holder);
    await script.call('RemoveAll', false, tenant);
    await script.call('PollRemoveAll', holder);
    await script.call('RemoveAll', true, tenant);
    await script.call('PollRemoveAll', holder);
    await script.call('RemoveAll', true, '');
    await script.call('PollRemoveAll', holder);
    await script.call('PollRemoveAll', holder);
    await script.metrics(...fileMetrics);
  },
};

/** What lies on a client's disk goes with the client, and comes back with it. */
const diskMembership: Scenario = {
  name: 'disks that come and go',
  flags: ['--enable_offload=true', '--default_kv_lease_ttl=200', '--client_ttl=2'],
  async play(script) {
    await mounted(script, holder);
    await mounted(script, other, two);
    await script.call('MountLocalDiskSegment', holder, true);
    await script.call('MountLocalDiskSegment', other, true);
    await script.call('ReportSsdCapacity', holder, 5_000);
    await script.call('ReportSsdCapacity', other, 7_000);
    await script.call('NotifyOffloadSuccess', holder, [task('on-one', 10)], [written(10)]);
    await script.call('NotifyOffloadSuccess', other, [task('on-other', 10)], [written(10)]);
    await script.put('both', 10, { preferredSegments: ['host:1', 'host:2'], replicaNum: 2 });
    await script.call('OffloadObjectHeartbeat', holder, true);
    await script.call('OffloadObjectHeartbeat', other, true);
    await script.call('NotifyOffloadSuccess', other, [task('both', 10)], [written(10, 'disk:2')]);
    await script.call('NotifyOffloadSuccess', holder, [task('both', 10)], [written(10, 'disk:1')]);
    await script.call('GetReplicaList', 'both', tenant);
    await script.metrics(...fileMetrics);
    await script.call('UnmountLocalDiskSegment', other);
    await script.call('UnmountLocalDiskSegment', other);
    await script.call('GetReplicaList', 'both', tenant);
    await script.call('GetReplicaList', 'on-other', tenant);
    await script.call('OffloadObjectHeartbeat', other, true);
    await script.call('NotifyOffloadSuccess', other, [task('on-other', 10)], [written(10)]);
    await script.call('MountLocalDiskSegment', other, true);
    await script.call('NotifyOffloadSuccess', other, [task('on-other', 10)], [written(10)]);
    await script.call('GetReplicaList', 'on-other', tenant);
    await script.metrics(...fileMetrics);
    const keepAlive = async () => {
      await script.quietly('Ping', other);
      return true;
    };
    for (let waited = 0; waited < 40; waited += 1) {
      await keepAlive();
      await script.wait(100);
    }
    await script.call('GetReplicaList', 'on-one', tenant);
    await script.call('GetReplicaList', 'on-other', tenant);
    await script.call('OffloadObjectHeartbeat', holder, true);
    await script.call('NotifyOffloadSuccess', holder, [task('on-one', 10)], [written(10)]);
    await script.metrics(...fileMetrics);
    await script.call('Ping', holder);
    await script.call('ReMountSegment', [one], holder);
    await script.call('MountLocalDiskSegment', holder, true);
    await script.call('NotifyOffloadSuccess', holder, [task('on-one', 10)], [written(10)]);
    await script.call('GetReplicaList', 'on-one', tenant);
    await script.metrics(...fileMetrics);
  },
};

/** What is read from a disk often enough comes back to memory. */
const promotion: Scenario = {
  name: 'promotion of what is read',
  flags: [
    '--enable_offload=true',
    '--promotion_on_hit=true',
    '--promotion_queue_limit=2',
    '--default_kv_lease_ttl=200',
  ],
  async play(script) {
    const ask = (client: Uuid) => script.call('PromotionObjectHeartbeat', client);
    const start = (client: Uuid, key: string, size: number) =>
      script.call('PromotionAllocStart', client, key, tenant, size, ['host:1']);
    await mounted(script, holder);
    await script.call('MountLocalDiskSegment', holder, true);
    const keys = ['a', 'b', 'c'];
    await script.call(
      'NotifyOffloadSuccess',
      holder,
      keys.map((key) => task(key, 10)),
      keys.map(() => written(10)),
    );
    await ask(holder);
    await start(holder, 'a', 10);
    await script.call('GetReplicaList', 'a', tenant);
    await ask(holder);
    await script.call('BatchGetReplicaList', ['a', 'none'], tenant);
    await script.metrics(...promotionMetrics);
    await start(other, 'a', 10);
    await start(holder, 'a', 11);
    await start(holder, 'none', 10);
    await script.call('NotifyPromotionSuccess', holder, 'a', tenant);
    await script.call('UpsertStart', writer, 'a', 10, configOf(), tenant);
    await ask(holder);
    await ask(holder);
    await start(holder, 'a', 10);
    await start(holder, 'a', 10);
    await script.call('GetReplicaList', 'a', tenant);
    await script.wait(300);
    await script.call('Remove', 'a', false, tenant);
    await script.call('NotifyPromotionSuccess', other, 'a', tenant);
    await script.call('NotifyPromotionFailure', other, 'a', tenant);
    await script.call('NotifyPromotionSuccess', holder, 'a', tenant);
    await script.call('NotifyPromotionSuccess', holder, 'a', tenant);
    await script.call('NotifyPromotionFailure', holder, 'a', tenant);
    await script.call('NotifyPromotionFailure', holder, 'none', tenant);
    await script.call('NotifyPromotionSuccess', holder, 'none', tenant);
    await script.call('GetReplicaList', 'a', tenant);
    await script.metrics(...promotionMetrics, ...fileMetrics);

    for (const key of ['b', 'b']) await script.call('GetReplicaList', key, tenant);
    await ask(holder);
    await start(holder, 'b', 10);
    await script.call('NotifyPromotionFailure', holder, 'b', tenant);
    await script.call('GetReplicaList', 'b', tenant);
    await script.metrics(...promotionMetrics);
    await script.wait(300);
    await script.call('Remove', 'b', false, tenant);
    await script.metrics(...promotionMetrics);
    // The other still tells of an object that is gone.
    await script.quietly('PromotionObjectHeartbeat', holder);
    for (const key of ['c', 'c']) await script.call('GetReplicaList', key, tenant);
    await script.call('EvictDiskReplica', holder, 'c', tenant, LOCAL_DISK);
    await script.metrics(...promotionMetrics);
    await start(holder, 'c', 10);
  },
};

/** Objects go to a disk when they are to be evicted, and only then leave memory. */
const offloadOnEvict: Scenario = {
  name: 'offload on eviction',
  flags: ['--enable_offload=true', '--offload_on_evict=true', '--default_kv_lease_ttl=100'],
  async play(script) {
    await mounted(script, holder);
    await script.call('MountLocalDiskSegment', holder, true);
    const size = mebibyte;
    for (let number = 0; number < 14; number += 1) await script.put(`k${number}`, size);
    await script.call('OffloadObjectHeartbeat', holder, true);
    await script.put('k14', size);
    const taken = await script.until(
      (answer) => 'ok' in answer && answer.ok.some(({ key }) => key === 'k0'),
      'OffloadObjectHeartbeat',
      holder,
      true,
    );
    script.lines.pop();
    const tasks = 'ok' in taken ? taken.ok : [];
    await script.wait(200);
    await script.quietly(
      'NotifyOffloadSuccess',
      holder,
      tasks,
      tasks.map(() => written(size)),
    );
    await script.wait(300);
    await script.call('GetReplicaList', 'k0', tenant);
    await script.metrics('master_key_count', 'master_evicted_key_count', 'file_cache_hit_nums_');
  },
};

/** Without the flags, nothing of this is there. */
const withoutDisks: Scenario = {
  name: 'disks that nobody allowed',
  flags: ['--promotion_on_hit=true', '--offload_on_evict=true'],
  async play(script) {
    await script.call('GetFsdir');
    await script.call('GetStorageConfig');
    await mounted(script, holder);
    await script.call('MountLocalDiskSegment', holder, true);
    await script.call('UnmountLocalDiskSegment', holder);
    await script.call('OffloadObjectHeartbeat', holder, true);
    await script.call('ReportSsdCapacity', holder, 10);
    await script.call('PollRemoveAll', holder);
    await script.call('PromotionObjectHeartbeat', holder);
    await script.put('k', 10);
    await script.call('EvictDiskReplica', holder, 'k', tenant, LOCAL_DISK);
    await script.call('PromotionAllocStart', holder, 'k', tenant, 10, []);
    await script.call('NotifyPromotionSuccess', holder, 'k', tenant);
    await script.call('NotifyPromotionFailure', holder, 'k', tenant);
    await script.metrics(...fileMetrics);
    const fabric = { id: uuid(5), name: 'nof:1', base: 1n, size: 100, teEndpoint: 'nof:1' };
    await script.call('MountNoFSegment', fabric, holder);
    await script.call('ReMountNoFSegment', [fabric], holder);
    await script.call('UnmountNoFSegment', fabric.id, holder);
    await script.call('GetAllNoFSegments');
    await script.call('GetNoFSegmentsByName', 'nof:1');
  },
};

export const scenarios: readonly Scenario[] = [
  sharedFiles,
  offload,
  diskMembership,
  promotion,
  offloadOnEvict,
  withoutDisks,
];
