import type { Handlers } from '@tsukimi/rpc';
import type { MasterProtocol } from '@tsukimi/wire';
import type { CallTallies } from './call-tallies.ts';
import type { MasterCore } from './core/master-core.ts';

/** Copies and moves of objects between segments, and the tasks by which clients are asked for them. */
export function taskHandlers(
  { replication, tasks }: Pick<MasterCore, 'replication' | 'tasks'>,
  tallies: CallTallies,
) {
  return {
    CreateCopyTask: tallies.counted('create_copy_task', (args) => tasks.createCopy(...args)),
    CreateMoveTask: tallies.counted('create_move_task', (args) => tasks.createMove(...args)),
    QueryTask: tallies.counted('query_task', ([id]) => tasks.query(id)),
    FetchTasks: tallies.counted('fetch_tasks', (args) => tasks.fetch(...args)),
    MarkTaskToComplete: tallies.counted('update_task', (args) => tasks.complete(...args)),
    CopyStart: tallies.counted('copy_start', (args) => replication.startCopy(...args)),
    CopyEnd: tallies.counted('copy_end', (call) => replication.endCopy(call)),
    CopyRevoke: tallies.counted('copy_revoke', (call) => replication.revokeCopy(call)),
    DynamicReplicaCopyStart: tallies.counted('copy_start', (args) =>
      replication.startLeasedCopy(...args),
    ),
    DynamicReplicaCopyEnd: tallies.counted('copy_end', ([client, key, tenant, id, epoch]) =>
      replication.endCopy([client, key, tenant], { id, epoch }),
    ),
    DynamicReplicaCopyRevoke: tallies.counted('copy_revoke', ([client, key, tenant, id, epoch]) =>
      replication.revokeCopy([client, key, tenant], { id, epoch }),
    ),
    MoveStart: tallies.counted('move_start', (args) => replication.startMove(...args)),
    MoveEnd: tallies.counted('move_end', (call) => replication.endMove(...call)),
    MoveRevoke: tallies.counted('move_revoke', (call) => replication.revokeMove(...call)),
  } satisfies Partial<Handlers<MasterProtocol>>;
}
