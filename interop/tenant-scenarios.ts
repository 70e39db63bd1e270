import { configOf, segmentOf, uuid } from '@tsukimi/master/testing';
import { ReplicaType } from '@tsukimi/wire';
import type { MasterScript, Scenario } from './master-script.ts';

const [holder, writer] = [uuid(1), uuid(2)];
const { MEMORY, LOCAL_DISK, ALL } = ReplicaType;
const mebibyte = 2 ** 20;
const meta = (key: string) => ({ key, objectChecksum: null });
const quotaPath = (tenant: string) => `/api/v1/tenant_quotas?tenant_id=${tenant}`;
const quotaBody = (byteCount: number) => ({
  method: 'PUT',
  body: JSON.stringify({ requested_quota_bytes: byteCount }),
});

async function quotas(script: MasterScript): Promise<void> {
  await script.metrics(
    'mooncake_tenant_quota_requested_bytes',
    'mooncake_tenant_quota_effective_bytes',
    'mooncake_tenant_quota_charged_bytes',
    'mooncake_tenant_quota_admission_closed',
    'mooncake_tenant_quota_over_quota',
    'mooncake_tenant_quota_explicit_policy',
    'mooncake_tenant_quota_allocatable_capacity_bytes',
    'mooncake_tenant_quota_requested_bytes_sum',
    'mooncake_tenant_quota_effective_bytes_sum',
  );
}

const policy = `version: 1
tenants:
  - name: "alice"
    quota: 1000
  - name: bob
    quota: 2KB
`;

/** Who may write how much, who sees what, and what an administrator can change. */
const tenants: Scenario = {
  name: 'tenants and their quotas',
  flags: [
    '--enable_multi_tenants=true',
    '--tenant_quota_connector_uri={directory}/quotas-{master}.yaml',
    '--default_kv_lease_ttl=200',
    '--enable_offload=true',
  ],
  files: { 'quotas-{master}.yaml': policy },
  async play(script) {
    await script.admin('/api/v1/tenant_quotas');
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), holder);
    await script.call('ReMountSegment', [segmentOf(1, 16 * mebibyte)], holder);
    await quotas(script);
    for (const tenant of ['', 'default', 'carol', '_reserved', 'tab\there', 'alice']) {
      await script.call('PutStart', writer, 'k', 100, configOf(), tenant);
      await script.call('PutStart', writer, '', 100, configOf(), tenant);
      await script.call('UpsertStart', writer, 'u', 100, configOf(), tenant);
      await script.call('BatchPutStart', writer, ['b1', 'b2'], [1, 1], configOf(), tenant);
      await script.call('BatchPutStart', writer, ['b1', 'b2'], [1], configOf(), tenant);
      await script.call('PutEnd', writer, meta('k'), ALL, tenant);
      await script.call('BatchPutEnd', writer, [meta('b1'), meta('b2')], ALL, tenant);
      await script.call('UpsertRevoke', writer, 'u', ALL, tenant);
      await script.call('ExistKey', 'k', tenant);
      await script.call('BatchExistKey', ['k', 'b1'], tenant);
      await script.call('GetReplicaList', 'k', tenant);
      await script.call('BatchGetReplicaList', ['k'], tenant);
      await script.call('GetReplicaListByRegex', 'b1', tenant);
      await script.call('Remove', 'none', false, tenant);
      await script.call('BatchRemove', ['none'], false, tenant);
      await script.call('RemoveByRegex', 'none', false, tenant);
      await script.call('EvictDiskReplica', holder, 'none', tenant, LOCAL_DISK);
      await script.call('BatchEvictDiskReplica', holder, ['none'], tenant, LOCAL_DISK);
      await script.call('PromotionAllocStart', holder, 'none', tenant, 1, []);
      await script.call('NotifyPromotionSuccess', holder, 'none', tenant);
      await script.call('NotifyPromotionFailure', holder, 'none', tenant);
    }
    await quotas(script);
    await script.wait(300);

    // Which objects make room is up to each.
    await script.call('RemoveAll', false, 'alice');
    await script.put('big', 900, { tenant: 'alice' });
    await script.call('ExistKey', 'big', 'alice');
    await quotas(script);
    await script.put('more', 500, { tenant: 'alice' });
    await script.wait(300);
    await script.put('more', 500, { tenant: 'alice' });
    await script.call('ExistKey', 'big', 'alice');
    // The other makes room in vain before it refuses.
    await script.call('Remove', 'more', true, 'alice');
    await script.put('too big', 1_001, { tenant: 'alice' });
    await script.call('PutStart', writer, 'two', 1_200, configOf(), 'bob');
    await quotas(script);
    await script.call('PutRevoke', writer, 'two', MEMORY, 'bob');
    await script.call('PutStart', writer, 'pinned', 1_500, configOf({ withHardPin: true }), 'bob');
    await script.call('PutEnd', writer, meta('pinned'), ALL, 'bob');
    await script.put('no room', 1_000, { tenant: 'bob' });
    await quotas(script);

    await script.admin(quotaPath('bob'));
    await script.admin(quotaPath('carol'));
    await script.admin(quotaPath('_reserved'));
    await script.admin(quotaPath('carol'), quotaBody(500));
    await script.admin(quotaPath('carol'), quotaBody(0));
    await script.admin('/api/v1/tenant_quotas', quotaBody(5));
    await script.admin(quotaPath('bob'), quotaBody(1_000));
    await script.admin(quotaPath('bob'), { method: 'DELETE' });
    await script.admin(quotaPath('dave'), { method: 'DELETE' });
    await script.admin('/api/v1/tenant_quotas', { method: 'DELETE' });
    await script.put('c', 500, { tenant: 'carol' });
    await quotas(script);
    await script.admin(quotaPath('huge'), quotaBody(64 * mebibyte));
    await quotas(script);
    await script.admin(quotaPath('huge'), { method: 'DELETE' });
    await script.admin('/get_all_keys');
    await script.admin('/query_key?key=c');

    const found = { tenantId: 'carol', key: 'found', size: 10 };
    const onDisk = { bucketId: 0, offset: 0, keySize: 1, dataSize: 10, transportEndpoint: 'd:1' };
    await script.call('MountLocalDiskSegment', holder, true);
    await script.call('NotifyOffloadSuccess', holder, [found], [onDisk]);
    await script.call('NotifyOffloadSuccess', holder, [{ ...found, tenantId: 'eve' }], [onDisk]);
    await script.call('ExistKey', 'found', 'carol');
    await quotas(script);
    await script.wait(300);
    await script.call('RemoveAll', false, '_reserved');
    await script.call('RemoveAll', false, 'eve');
    await script.call('PollRemoveAll', holder);
    await script.call('RemoveAll', false, 'carol');
    await script.call('PollRemoveAll', holder);
    await script.call('RemoveAll', false, '');
    await script.call('PollRemoveAll', holder);
    await quotas(script);
    await script.admin(quotaPath('bob'), { method: 'DELETE' });
    await script.admin('/api/v1/tenant_quotas');
  },
};

/** Without the flag, tenants are one. */
const oneTenant: Scenario = {
  name: 'one tenant, whatever callers name',
  flags: ['--default_kv_lease_ttl=200'],
  async play(script) {
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), holder);
    for (const tenant of ['', '_reserved', 'alice']) {
      await script.put('k', 10, { tenant });
      await script.call('ExistKey', 'k', tenant);
    }
    await script.admin('/api/v1/tenant_quotas');
    await script.admin(quotaPath('alice'));
    await script.admin(quotaPath('alice'), quotaBody(10));
    await script.admin(quotaPath('alice'), { method: 'DELETE' });
    await quotas(script);
    await script.wait(300);
    await script.call('RemoveAll', false, '_reserved');
  },
};

export const scenarios: readonly Scenario[] = [tenants, oneTenant];
