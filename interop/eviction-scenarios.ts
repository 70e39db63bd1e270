import { configOf, segmentOf, uuid } from '@tsukimi/master/testing';
import { ReplicaType } from '@tsukimi/wire';
import type { MasterScript, Scenario } from './master-script.ts';

const [holder, writer] = [uuid(1), uuid(2)];
const { DISK } = ReplicaType;
const tenant = 'default';
const mebibyte = 2 ** 20;
/** Longer than the lease, and than a round of eviction takes. */
const whileMs = 400;
const evictionMetrics = [
  'master_key_count',
  'master_evicted_key_count',
  'master_evicted_size_bytes',
];

/** Which of these are there, without touching them. */
async function present(script: MasterScript): Promise<void> {
  await script.wait(whileMs);
  const keys = (await (await fetch(`${script.master.adminUrl}/get_all_keys`)).text()).trim();
  script.lines.push(['present', keys.split('\n').toSorted((a, b) => (a < b ? -1 : 1))]);
  await script.metrics(...evictionMetrics);
}

/** Fifteen objects in sixteen MiB are above the watermark: two must go. */
const whoGoes: Scenario = {
  name: 'who goes when memory is full',
  flags: ['--default_kv_lease_ttl=200'],
  async play(script) {
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), holder);
    await script.put('hard', mebibyte, { withHardPin: true });
    await script.put('soft', mebibyte, { softPinAction: 1 });
    await script.put('group-1', mebibyte, { groupIds: ['g'] });
    await script.put('group-2', mebibyte, { groupIds: ['g'] });
    for (let number = 0; number < 10; number += 1) await script.put(`k${number}`, mebibyte);
    await present(script);
    await script.call('ExistKey', 'k0', tenant);
    await script.wait(whileMs);
    await script.put('l0', mebibyte);
    await present(script);
    await script.put('l1', mebibyte);
    await present(script);
    await script.put('l2', mebibyte);
    await present(script);
    await script.put('group-3', mebibyte, { groupIds: ['h'] });
    await script.put('l3', mebibyte);
    await present(script);
    await script.call('UpsertStart', writer, 'k5', mebibyte, configOf(), tenant);
    await script.call('UpsertEnd', writer, { key: 'k5', objectChecksum: null }, 4, tenant);
    await script.call('Remove', 'l3', false, tenant);
    await script.put('l4', 2 * mebibyte);
    await present(script);
  },
};

/** Objects that also lie in a file lose their memory only. */
const filesStay: Scenario = {
  name: 'files stay when memory goes',
  flags: ['--default_kv_lease_ttl=200', '--root_fs_dir={directory}'],
  async play(script) {
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), holder);
    for (let number = 0; number < 15; number += 1) {
      const key = `k${number}`;
      await script.put(key, mebibyte);
      if (number % 3 === 2) continue;
      await script.call('PutEnd', writer, { key, objectChecksum: null }, DISK, tenant);
    }
    await present(script);
    for (const key of ['k0', 'k1', 'k2']) await script.call('GetReplicaList', key, tenant);
    await script.metrics('mem_cache_nums_', 'file_cache_nums_', 'file_cache_hit_nums_');
    await script.put('l0', mebibyte);
    await script.put('l1', mebibyte);
    await present(script);
    for (const key of ['k2', 'k3']) await script.call('GetReplicaList', key, tenant);
    await script.metrics('mem_cache_nums_', 'file_cache_nums_', 'file_cache_hit_nums_');
  },
};

export const scenarios: readonly Scenario[] = [whoGoes, filesStay];
