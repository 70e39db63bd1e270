import { configOf, segmentOf, uuid } from '@tsukimi/master/testing';
import { ReplicaType } from '@tsukimi/wire';
import type { Scenario } from './master-script.ts';

const [holder, writer, other] = [uuid(1), uuid(2), uuid(3)];
const { MEMORY, DISK, LOCAL_DISK, NOF_SSD, ALL, DFS } = ReplicaType;
const tenant = 'default';
const mebibyte = 2 ** 20;
const meta = (key: string, objectChecksum: bigint | null = null) => ({ key, objectChecksum });
const cacheMetrics = [
  'master_key_count',
  'mem_cache_nums_',
  'file_cache_nums_',
  'mem_cache_hit_nums_',
  'mem_cache_hit_bytes_total',
  'file_cache_hit_nums_',
  'file_cache_hit_bytes_total',
  'valid_get_nums_',
  'total_get_nums_',
];

/** The life of an object: every row of who may start, end, revoke, read and remove it when. */
const objectLife: Scenario = {
  name: 'the life of an object',
  flags: [
    '--default_kv_lease_ttl=300',
    '--put_start_discard_timeout_sec=1',
    '--put_start_release_timeout_sec=3',
  ],
  async play(script) {
    await script.call('PutStart', writer, 'k', 10, configOf(), tenant);
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), holder);
    await script.call('ReMountSegment', [segmentOf(1, 16 * mebibyte)], holder);

    for (const fields of [
      { replicaNum: 0 },
      { softPinAction: 1, softPinTtlMs: 86_400_001 },
      { softPinAction: 1, softPinTtlMs: 86_400_000 },
      { softPinAction: 2, softPinTtlMs: 1 },
      { softPinAction: 0, softPinTtlMs: 1 },
      { softPinAction: 3 },
      { groupIds: [] },
      { groupIds: ['a', 'b'] },
      { groupIds: ['a'] },
      { nofReplicaNum: 1 },
      { replicaNum: 0, nofReplicaNum: 1 },
      { dfsReplicaNum: 1 },
      { dfsReplicaNum: 2 },
      { replicaNum: 0, dfsReplicaNum: 1 },
      { preferAllocInSameNode: true },
      { preferredSegment: 'nowhere' },
      { dataType: 9 },
      { dataType: 77 },
      { replicaNum: 3 },
    ]) {
      await script.call('PutStart', writer, 'rules', 10, configOf(fields), tenant);
      await script.call('PutRevoke', writer, 'rules', ALL, tenant);
    }
    await script.call('PutStart', writer, '', 10, configOf(), tenant);
    await script.call('PutStart', writer, 'k', 0, configOf(), tenant);
    await script.call('PutStart', writer, 'k', 17 * mebibyte, configOf(), tenant);
    // That asked for eviction, which is to find nothing yet.
    await script.wait(200);

    await script.call('PutEnd', writer, meta('k'), ALL, tenant);
    await script.call('PutRevoke', writer, 'k', ALL, tenant);
    await script.call('PutStart', writer, 'k', 100, configOf(), tenant);
    await script.call('PutStart', other, 'k', 100, configOf(), tenant);
    await script.call('ExistKey', 'k', tenant);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('Remove', 'k', false, tenant);
    await script.call('Remove', 'k', true, tenant);
    await script.call('PutEnd', other, meta('k'), ALL, tenant);
    await script.call('PutRevoke', other, 'k', ALL, tenant);
    for (const type of [DISK, LOCAL_DISK, NOF_SSD, DFS]) {
      await script.call('PutEnd', writer, meta('k', 9n), type, tenant);
      await script.call('PutRevoke', writer, 'k', type, tenant);
    }
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('PutEnd', writer, meta('k', 5n), MEMORY, tenant);
    for (const type of [MEMORY, DISK, LOCAL_DISK, NOF_SSD, ALL, DFS]) {
      await script.call('PutEnd', writer, meta('k', 6n), type, tenant);
      await script.call('PutRevoke', writer, 'k', type, tenant);
    }
    await script.call('PutStart', writer, 'k', 100, configOf(), tenant);
    await script.call('Remove', 'k', false, tenant);
    await script.put('k', 100);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('ExistKey', 'k', tenant);
    await script.call('Remove', 'k', false, tenant);
    await script.call('RemoveByRegex', 'k', false, tenant);
    await script.call('RemoveAll', false, tenant);
    await script.call('BatchRemove', ['k', 'none', 'k'], false, tenant);
    await script.metrics(...cacheMetrics);
    await script.call('BatchRemove', ['k', 'none', 'k'], true, tenant);

    await script.call('PutStart', writer, 'abandoned', 100, configOf(), tenant);
    await script.call('PutStart', writer, 'revoked', 100, configOf(), tenant);
    await script.call('PutRevoke', writer, 'revoked', MEMORY, tenant);
    await script.call('GetReplicaList', 'revoked', tenant);
    await script.wait(1_300);
    await script.call('PutStart', other, 'abandoned', 200, configOf(), tenant);
    await script.call('PutEnd', writer, meta('abandoned'), ALL, tenant);
    await script.call('PutEnd', other, meta('abandoned'), ALL, tenant);
    await script.call('GetReplicaList', 'abandoned', tenant);
    await script.metrics('master_put_start_discard_cnt', ...cacheMetrics);
  },
};

/** Batches answer for each key; patterns are searched for anywhere in keys. */
const batches: Scenario = {
  name: 'batches and patterns',
  flags: ['--default_kv_lease_ttl=300'],
  async play(script) {
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), holder);
    const keys = ['a', 'b', 'b', '', 'c'];
    const ok = configOf();
    await script.call('BatchPutStart', writer, keys, [1, 2, 3, 4, 0], ok, tenant);
    await script.call('BatchPutStart', writer, ['x', 'y'], [1], ok, tenant);
    await script.call('BatchPutStart', writer, [], [], ok, tenant);
    await script.call('BatchUpsertStart', writer, ['x', 'y'], [1], ok, tenant);
    await script.call(
      'BatchPutStart',
      writer,
      ['g1', 'g2'],
      [1, 1],
      configOf({ groupIds: ['g'] }),
      tenant,
    );
    await script.call(
      'BatchPutStart',
      writer,
      ['g1', 'g2'],
      [1, 1],
      configOf({ groupIds: ['g', ''] }),
      tenant,
    );
    await script.call(
      'BatchPutEnd',
      writer,
      ['a', 'b', 'none', 'g1'].map((key) => meta(key)),
      ALL,
      tenant,
    );
    await script.call(
      'BatchPutEnd',
      writer,
      ['a', 'b', 'none', 'g2'].map((key) => meta(key)),
      DISK,
      tenant,
    );
    await script.call('BatchPutRevoke', writer, ['a', 'none', 'g2'], ALL, tenant);
    await script.call('BatchExistKey', ['a', 'none', 'g2', ''], tenant);
    await script.call('BatchGetReplicaList', ['a', 'none', 'b', 'a'], tenant);
    await script.call('BatchGetReplicaList', [], tenant);
    await script.call('BatchExistKey', [], tenant);
    await script.call('GetReplicaListByRegex', '(', tenant);
    await script.call('GetReplicaListByRegex', '^a$', tenant);
    await script.call('GetReplicaListByRegex', 'zzz', tenant);
    await script.call('RemoveByRegex', '[', false, tenant);
    await script.call('RemoveByRegex', '', false, tenant);
    await script.metrics(...cacheMetrics);
    await script.wait(400);
    await script.call('BatchUpsertStart', writer, ['a', 'new', 'b'], [1, 5, 9], ok, tenant);
    await script.call(
      'BatchUpsertEnd',
      writer,
      ['a', 'new', 'none'].map((key) => meta(key)),
      tenant,
    );
    await script.call('BatchUpsertRevoke', writer, ['a', 'b', 'none'], tenant);
    await script.call('BatchExistKey', ['a', 'new', 'b'], tenant);
    await script.call('BatchReplicaClear', ['a', 'new', 'none'], other, '', tenant);
    await script.call('BatchReplicaClear', ['a', 'new', 'none'], writer, '', tenant);
    await script.wait(400);
    await script.call('BatchReplicaClear', ['a', 'new', 'none'], writer, 'nowhere', tenant);
    await script.call('BatchReplicaClear', ['a', 'none'], writer, 'host:1', tenant);
    await script.call('BatchReplicaClear', ['new', 'none'], writer, '', tenant);
    await script.call('BatchReplicaClear', [], writer, '', tenant);
    await script.call('BatchQueryIp', [[holder, writer]].flat());
    await script.call('RemoveByRegex', '.', false, tenant);
    await script.call('RemoveAll', true, tenant);
    await script.metrics(...cacheMetrics);
  },
};

/** Writing over, in the same bytes and in others; pins and groups on the way. */
const upserts: Scenario = {
  name: 'upserts, pins and groups',
  flags: ['--default_kv_lease_ttl=300', '--default_kv_soft_pin_ttl=1500'],
  async play(script) {
    const upsert = async (key: string, byteCount: number, fields = {}, client = writer) => {
      await script.call('UpsertStart', client, key, byteCount, configOf(fields), tenant);
      await script.call('GetReplicaList', key, tenant);
      await script.call('UpsertEnd', client, meta(key, 3n), ALL, tenant);
      await script.metrics('master_soft_pin_key_count', ...cacheMetrics);
    };
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), holder);
    await upsert('k', 10);
    await upsert('k', 10, {}, other);
    await upsert('k', 20);
    await script.call('UpsertStart', writer, 'k', 30, configOf(), tenant);
    await script.call('UpsertStart', other, 'k', 30, configOf(), tenant);
    await script.call('UpsertEnd', writer, meta('k'), ALL, tenant);
    await script.call('UpsertRevoke', other, 'k', ALL, tenant);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('UpsertRevoke', other, 'k', ALL, tenant);

    await upsert('pinned', 10, { softPinAction: 1 });
    await upsert('pinned', 10, { softPinAction: 0 });
    await upsert('pinned', 20, { softPinAction: 0 });
    await upsert('pinned', 20, { softPinAction: 2 });
    await upsert('pinned', 30, { softPinAction: 1, softPinTtlMs: 60_000 });
    await upsert('pinned', 40, { softPinAction: 2 });
    await script.call('UpsertStart', writer, 'pinned', 40, configOf({ softPinAction: 1 }), tenant);
    await script.metrics('master_soft_pin_key_count');
    await script.call('UpsertRevoke', writer, 'pinned', ALL, tenant);
    await script.metrics('master_soft_pin_key_count', ...cacheMetrics);
    await upsert('hard', 10, { withHardPin: true });
    await upsert('hard', 20);

    await upsert('grouped', 10, { groupIds: ['a'] });
    await upsert('grouped', 10, { groupIds: ['b'] });
    await upsert('grouped', 10);
    await upsert('grouped', 20, { groupIds: ['a'] });
    await upsert('grouped', 30, { groupIds: [''] });
    await upsert('alone', 10);
    await upsert('alone', 10, { groupIds: ['a'] });
    await upsert('alone', 10, { groupIds: [''] });
    await script.call('PutStart', writer, 'member', 10, configOf({ groupIds: ['a'] }), tenant);
    await script.call('ExistKey', 'grouped', tenant);
    await script.call('PutEnd', writer, meta('member'), ALL, tenant);
    await script.call('Remove', 'member', false, tenant);
    await script.wait(500);
    await script.call('ExistKey', 'grouped', tenant);
    await script.call('Remove', 'member', false, tenant);
    await script.wait(500);
    await script.call('Remove', 'member', false, tenant);
    await script.wait(1_500);
    await script.metrics('master_soft_pin_key_count');
  },
};

/** Who is alive, what is mounted, and what goes with whom. */
const membership: Scenario = {
  name: 'clients and segments',
  flags: ['--client_ttl=2', '--default_kv_lease_ttl=300'],
  async play(script) {
    const [one, two, three] = [1, 2, 3].map((number) => segmentOf(number, 16 * mebibyte));
    if (one === undefined || two === undefined || three === undefined) return;
    await script.call('ServiceReady');
    await script.call('Ping', holder);
    await script.call('MountSegment', { ...one, size: 0 }, holder);
    await script.call('MountSegment', { ...one, base: 0n }, holder);
    await script.call('MountSegment', one, holder);
    await script.call('MountSegment', one, other);
    await script.call('MountSegment', { ...one, size: 32 * mebibyte }, holder);
    await script.call('Ping', holder);
    await script.call('ReMountSegment', [{ ...one, size: 32 * mebibyte }], holder);
    await script.call('ReMountSegment', [one], other);
    await script.call('ReMountSegment', [one], holder);
    await script.call('ReMountSegment', [{ ...one, size: 32 * mebibyte }], holder);
    await script.call('Ping', holder);
    await script.call('ReMountSegment', [{ ...three, size: 0 }], uuid(7));
    await script.call('Ping', uuid(7));
    await script.call('ReMountSegment', [three, { ...one, size: 1 }], uuid(8));
    await script.call('QuerySegmentStatus', 'host:3');
    await script.call('ReMountSegment', [], other);
    await script.call('Ping', other);
    await script.call('QuerySegmentStatus', 'host:1');
    await script.call('QuerySegmentStatus', 'host:9');
    await script.call('QuerySegmentStatusById', uuid(1));
    await script.call('QuerySegmentStatusById', uuid(9));
    await script.call('BatchQueryIp', [holder]);
    await script.call('MountSegment', two, other);
    await script.call('GracefulUnmountSegment', uuid(2), holder, 500);
    await script.call('GracefulUnmountSegment', uuid(2), uuid(9), 500);
    await script.put('on-two', 10, { preferredSegment: 'host:2' });
    await script.call('GracefulUnmountSegment', uuid(2), other, 700);
    await script.call('QuerySegmentStatus', 'host:2');
    await script.call('MountSegment', two, other);
    await script.call('GracefulUnmountSegment', uuid(2), other, 700);
    await script.call('GetReplicaList', 'on-two', tenant);
    await script.put('not-on-two', 10, { preferredSegment: 'host:2' });
    await script.call('GetReplicaList', 'not-on-two', tenant);
    await script.until((answer) => !('ok' in answer), 'QuerySegmentStatus', 'host:2');
    await script.call('GetReplicaList', 'on-two', tenant);
    await script.call('UnmountSegment', uuid(9), holder);
    await script.call('MountSegment', three, holder);
    await script.put('on-three', 10, { preferredSegment: 'host:3' });
    await script.put('on-both', 10, { preferredSegments: ['host:3', 'host:1'], replicaNum: 2 });
    await script.call('UnmountSegment', uuid(3), other);
    await script.call('GetReplicaList', 'on-three', tenant);
    await script.call('GetReplicaList', 'on-both', tenant);
    await script.call('ExistKey', 'on-three', tenant);
    await script.put('on-three', 10);
    await script.admin('/get_all_segments');
    await script.admin('/get_all_keys');
    await script.until((answer) => !('ok' in answer), 'QuerySegmentStatus', 'host:1');
    await script.call('Ping', holder);
    await script.call('GetReplicaList', 'on-both', tenant);
    await script.call('PutStart', writer, 'nowhere', 10, configOf(), tenant);
    await script.call('ReMountSegment', [one], holder);
    await script.call('Ping', holder);
    await script.call('GetReplicaList', 'on-both', tenant);
    await script.metrics(...cacheMetrics);
  },
};

export const scenarios: readonly Scenario[] = [objectLife, batches, upserts, membership];
