import { configOf, segmentOf, uuid } from '@tsukimi/master/testing';
import { ReplicaType, TaskStatus, type Uuid } from '@tsukimi/wire';
import type { MasterScript, Scenario } from './master-script.ts';

const [one, two, writer, other] = [uuid(1), uuid(2), uuid(4), uuid(5)];
const { ALL } = ReplicaType;
const tenant = 'default';
const mebibyte = 2 ** 20;
const flags = ['--default_kv_lease_ttl=300'];
const [a, b] = ['host:1', 'host:2'];

/** Two clients with a segment each, `host:1` and `host:2`. */
async function mountTwo(script: MasterScript): Promise<void> {
  for (const [number, client] of [
    [1, one],
    [2, two],
  ] as const) {
    const segment = segmentOf(number, 16 * mebibyte);
    await script.quietly('MountSegment', segment, client);
    await script.quietly('ReMountSegment', [segment], client);
  }
}

async function putAt(script: MasterScript, key: string, segment: string): Promise<void> {
  await script.put(key, 100, { writer, preferredSegment: segment });
}

const copies: Scenario = {
  name: 'copies',
  flags,
  async play(script) {
    await mountTwo(script);
    await putAt(script, 'k', a);
    await script.call('CopyStart', one, 'k', tenant, a, ['nowhere']);
    await script.call('CopyStart', one, 'nobody', tenant, a, [b]);
    await script.call('CopyStart', one, 'k', tenant, b, [a]);
    await script.call('CopyStart', one, 'k', tenant, 'nowhere', [b]);
    await script.call('CopyEnd', one, 'k', tenant);
    await script.call('CopyEnd', one, 'nobody', tenant);
    await script.call('CopyRevoke', one, 'k', tenant);

    await script.call('CopyStart', one, 'k', tenant, a, [b]);
    await script.call('CopyStart', one, 'k', tenant, a, [b]);
    await script.call('MoveStart', one, 'k', tenant, a, b);
    await script.call('GetReplicaList', 'k', tenant);
    await script.wait(400);
    await script.call('Remove', 'k', false, tenant);
    await script.call('Remove', 'k', true, tenant);
    await script.call('BatchReplicaClear', ['k'], writer, '', tenant);
    await script.call('UpsertStart', writer, 'k', 100, configOf(), tenant);
    await script.call('UpsertStart', writer, 'k', 50, configOf(), tenant);
    await script.call('PutStart', writer, 'k', 50, configOf(), tenant);
    await script.call('PutRevoke', writer, 'k', ALL, tenant);
    await script.call('CopyEnd', other, 'k', tenant);
    await script.call('CopyRevoke', other, 'k', tenant);
    await script.call('MoveEnd', one, 'k', tenant);
    await script.call('MoveRevoke', one, 'k', tenant);
    await script.call('DynamicReplicaCopyEnd', one, 'k', tenant, uuid(9), 1);
    await script.call('DynamicReplicaCopyRevoke', one, 'k', tenant, uuid(9), 1);
    await script.call('CopyEnd', one, 'k', tenant);
    await script.call('CopyEnd', one, 'k', tenant);
    await script.call('GetReplicaList', 'k', tenant);

    // Where it is already, there is nothing to write.
    await script.call('CopyStart', one, 'k', tenant, a, [b]);
    await script.call('CopyEnd', one, 'k', tenant);
    await putAt(script, 'revoked', a);
    await script.call('CopyStart', one, 'revoked', tenant, a, [b]);
    await script.call('CopyRevoke', one, 'revoked', tenant);
    await script.call('GetReplicaList', 'revoked', tenant);
    await script.call(
      'PutStart',
      writer,
      'unfinished',
      100,
      configOf({ preferredSegment: a }),
      tenant,
    );
    await script.call('CopyStart', one, 'unfinished', tenant, a, [b]);
    await script.call('DynamicReplicaCopyStart', one, 'revoked', tenant, a, [b], uuid(9), 1);
    await script.call('DynamicReplicaCopyStart', one, 'nobody', tenant, a, [b], uuid(9), 1);
    await script.call('DynamicReplicaCopyEnd', one, 'revoked', tenant, uuid(9), 1);

    // Larger than what is free in the target.
    await script.put('large', 10 * mebibyte, { writer, preferredSegment: a });
    await script.put('large-too', 10 * mebibyte, { writer, preferredSegment: b });
    await script.call('CopyStart', one, 'large', tenant, a, [b]);
    await script.call('BatchReplicaClear', ['k', 'large', 'nobody', ''], writer, b, tenant);
    await script.wait(400);
    await script.call('BatchReplicaClear', ['k', 'large', 'nobody', ''], writer, b, tenant);
    await script.call('BatchReplicaClear', ['k', 'large'], other, '', tenant);
    await script.call('BatchReplicaClear', ['k', 'large'], writer, '', tenant);

    // The source or a target goes meanwhile.
    await putAt(script, 'source-gone', a);
    await script.call('CopyStart', two, 'source-gone', tenant, a, [b]);
    await putAt(script, 'target-gone', b);
    await script.call('CopyStart', two, 'target-gone', tenant, b, [a]);
    await script.call('UnmountSegment', uuid(1), one);
    await script.call('CopyEnd', two, 'target-gone', tenant);
    await script.call('GetReplicaList', 'target-gone', tenant);
    await script.metrics(
      'master_copy_start_requests_total',
      'master_copy_start_failures_total',
      'master_copy_end_requests_total',
      'master_copy_end_failures_total',
      'master_copy_revoke_requests_total',
      'master_batch_replica_clear_requests_total',
      'master_batch_replica_clear_items_total',
      'master_batch_replica_clear_failed_items_total',
      'master_batch_replica_clear_partial_successes_total',
      'master_batch_replica_clear_failures_total',
    );
  },
};

const moves: Scenario = {
  name: 'moves',
  flags,
  async play(script) {
    await mountTwo(script);
    await putAt(script, 'k', a);
    await script.call('MoveStart', one, 'k', tenant, a, a);
    await script.call('MoveStart', one, 'k', tenant, a, 'nowhere');
    await script.call('MoveStart', one, 'nobody', tenant, a, b);
    await script.call('MoveStart', one, 'k', tenant, 'nowhere', b);
    await script.call('MoveEnd', one, 'k', tenant);
    await script.call('MoveStart', one, 'k', tenant, a, b);
    await script.call('CopyEnd', one, 'k', tenant);
    await script.call('MoveEnd', other, 'k', tenant);
    await script.call('GetReplicaList', 'k', tenant);
    await script.call('MoveEnd', one, 'k', tenant);
    await script.call('GetReplicaList', 'k', tenant);

    // Where a copy is there already, the source just goes.
    await script.put('both', 100, { writer, replicaNum: 2, preferredSegments: [a, b] });
    await script.call('MoveStart', one, 'both', tenant, a, b);
    await script.call('Remove', 'both', true, tenant);
    await script.call('MoveEnd', one, 'both', tenant);
    await script.call('GetReplicaList', 'both', tenant);

    await putAt(script, 'revoked', a);
    await script.call('MoveStart', one, 'revoked', tenant, a, b);
    await script.call('MoveRevoke', one, 'revoked', tenant);
    await script.call('MoveRevoke', one, 'revoked', tenant);
    await script.call('GetReplicaList', 'revoked', tenant);
    await putAt(script, 'closing', b);
    await script.call('GracefulUnmountSegment', uuid(1), one, 60_000);
    await script.call('MoveStart', two, 'closing', tenant, b, a);
    await script.call('CopyStart', two, 'closing', tenant, b, [a]);
    await script.call('CreateMoveTask', 'closing', tenant, b, a);
    await script.call('CreateCopyTask', 'closing', tenant, [a]);
  },
};

const tasks: Scenario = {
  name: 'tasks',
  flags: [
    ...flags,
    '--max_total_pending_tasks=3',
    '--max_total_processing_tasks=2',
    '--max_retry_attempts=7',
  ],
  async play(script) {
    await mountTwo(script);
    for (const key of ['k', 'é"\\\n']) await putAt(script, key, a);
    await script.call('CreateCopyTask', 'nobody', tenant, [b]);
    await script.call('CreateCopyTask', 'nobody', tenant, []);
    await script.call('CreateCopyTask', 'k', tenant, ['nowhere']);
    await script.call('CreateMoveTask', 'nobody', tenant, a, b);
    await script.call('CreateMoveTask', 'k', tenant, a, a);
    await script.call('CreateMoveTask', 'k', tenant, a, 'nowhere');
    await script.call('CreateMoveTask', 'k', tenant, b, a);
    await script.call('QueryTask', uuid(77));

    const created = [
      await script.task('CreateCopyTask', 'k', tenant, [b]),
      await script.task('CreateMoveTask', 'é"\\\n', tenant, a, b),
      await script.task('CreateCopyTask', 'k', tenant, [a, b]),
    ] as [Uuid, Uuid, Uuid];
    await script.call('CreateCopyTask', 'k', tenant, [b]);
    await script.call('QueryTask', created[0]);
    await script.call('FetchTasks', two, 16);
    await script.call('FetchTasks', one, 1);
    await script.call('QueryTask', created[0]);
    const ended = (id: Uuid, status: number, message = '') => ({ id, status, message });
    await script.call('MarkTaskToComplete', one, ended(created[0], TaskStatus.PROCESSING));
    await script.call('MarkTaskToComplete', one, ended(uuid(77), TaskStatus.SUCCESS));
    await script.call('MarkTaskToComplete', two, ended(created[0], TaskStatus.SUCCESS));
    await script.call('FetchTasks', one, 16);
    await script.call('MarkTaskToComplete', one, ended(created[0], TaskStatus.SUCCESS, 'well'));
    await script.call('MarkTaskToComplete', one, ended(created[0], TaskStatus.FAILED, 'no'));
    await script.call('QueryTask', created[0]);
    await script.call('FetchTasks', one, 16);

    await script.metrics(
      'master_create_copy_task_requests_total',
      'master_create_copy_task_failures_total',
      'master_create_move_task_requests_total',
      'master_create_move_task_failures_total',
      'master_update_task_requests_total',
      'master_update_task_failures_total',
    );
  },
};

const drains: Scenario = {
  name: 'drain jobs',
  flags,
  async play(script) {
    await mountTwo(script);
    const drain = (body: unknown) =>
      script.admin('/api/v1/drain_jobs', { method: 'POST', body: JSON.stringify(body) });
    for (const body of [
      { segments: [], target_segments: [], max_concurrency: 4 },
      { segments: [a], target_segments: [], max_concurrency: 0 },
      { segments: [a, a], target_segments: [], max_concurrency: 4 },
      { segments: ['nowhere'], target_segments: [], max_concurrency: 4 },
      { segments: [a], target_segments: [a], max_concurrency: 4 },
      { segments: [a], target_segments: ['nowhere'], max_concurrency: 4 },
    ]) {
      await drain(body);
    }
    await script.admin('/api/v1/drain_jobs/query');
    await script.admin('/api/v1/drain_jobs/query?job_id=x');
    await script.admin('/api/v1/drain_jobs/query?job_id=1-2');
    await script.admin('/api/v1/drain_jobs/cancel', { method: 'POST' });
    await script.admin('/api/v1/drain_jobs/cancel?job_id=1-2', { method: 'POST' });

    await putAt(script, 'k', a);
    await putAt(script, 'stays', b);
    const job = await script.job({ segments: [a], target_segments: [b], max_concurrency: 2 });
    await script.call('QuerySegmentStatus', a);
    await drain({ segments: [a], target_segments: [], max_concurrency: 4 });
    await script.call('MountSegment', segmentOf(1, 16 * mebibyte), one);
    await script.call('PutStart', writer, 'new', 100, configOf({ preferredSegment: a }), tenant);
    await script.call('PutEnd', writer, { key: 'new', objectChecksum: null }, ALL, tenant);
    const [task] = await script.untilTasks(one);
    await script.jobState(job, 1);
    await script.admin(`/api/v1/drain_jobs/cancel?job_id=${job}`, { method: 'POST' });
    await script.call('MoveStart', one, 'k', tenant, a, b);
    await script.call('MoveEnd', one, 'k', tenant);
    await script.call('MarkTaskToComplete', one, {
      id: task as Uuid,
      status: TaskStatus.SUCCESS,
      message: 'done',
    });
    await script.jobState(job, 3);
    await script.call('QuerySegmentStatus', a);
    await script.admin('/api/v1/segments/status?segment=host:1');
    await script.admin(`/api/v1/drain_jobs/cancel?job_id=${job}`, { method: 'POST' });

    // What fails three times stays where it is.
    const back = await script.job({ segments: [b], target_segments: [], max_concurrency: 1 });
    await script.jobState(back, 2);
    await script.admin(`/api/v1/drain_jobs/cancel?job_id=${back}`, { method: 'POST' });
    await script.call('QuerySegmentStatus', b);
  },
};

const admin: Scenario = {
  name: 'the admin server',
  flags,
  async play(script) {
    for (const path of ['/health', '/role', '/ha_status', '/leader', '/kv_events/status']) {
      await script.admin(path);
    }
    await script.admin('/get_all_keys');
    await script.admin('/get_all_segments');
    await script.admin('/get_segments_detail');
    await mountTwo(script);
    await script.call('MountSegment', segmentOf(3, 1_234_567_890, { name: a }), one);
    for (const key of ['k', 'a b', 'z']) await putAt(script, key, b);
    await script.call(
      'PutStart',
      writer,
      'unfinished',
      10,
      configOf({ preferredSegment: b }),
      tenant,
    );
    for (const path of [
      '/query_key?key=k',
      '/query_key?key=nobody',
      '/query_key?key=unfinished',
      '/query_key',
      '/batch_query_keys?keys=z,k,nobody,unfinished,k',
      '/batch_query_keys?keys=a%20b',
      '/batch_query_keys?keys=k,',
      '/batch_query_keys?keys=',
      '/batch_query_keys',
      '/query_segment?segment=host:1',
      '/query_segment?segment=host:2',
      '/query_segment?segment=nowhere',
      '/query_segment',
      '/api/v1/segments/status?segment=host:1',
      '/api/v1/segments/status?segment=nowhere',
      '/api/v1/segments/status',
      '/nothing/here',
    ]) {
      await script.admin(path);
    }
    await script.sortedAdmin('/get_all_keys');
    await script.sortedAdmin('/get_all_segments');
    await script.segments();
    await script.wait(400);
    await script.admin('/api/v1/remove_all', { method: 'POST' });
    await script.admin('/api/v1/remove_all?force=1&tenant_id=default', { method: 'POST' });
    await script.admin('/api/v1/remove_all', { method: 'GET' });
    await script.headers(
      ...['/metrics', '/metrics/summary', '/health', '/role', '/get_all_keys'],
      ...['/query_segment?segment=host:1', '/query_key?key=k', '/batch_query_keys?keys=k'],
    );
  },
};

export const scenarios: readonly Scenario[] = [copies, moves, tasks, drains, admin];
