import { TaskType } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import { parseTask } from '../src/core/task-payload.ts';

describe('parseTask', () => {
  it('reads a copy, and ids that no JavaScript number holds', () => {
    const payload =
      '{"tenant_id":"default","key":"k","source":"a:1","targets":["b:1","c:1"],' +
      '"dynamic_replication_lease_id_high":18446744073709551615,' +
      '"dynamic_replication_lease_id_low":9007199254740993,"dynamic_replication_version_epoch":7}';
    expect(parseTask(TaskType.REPLICA_COPY, payload)).toEqual({
      kind: 'copy',
      key: 'k',
      tenantId: 'default',
      source: 'a:1',
      targets: ['b:1', 'c:1'],
      dynamic: { leaseId: '18446744073709551615-9007199254740993', epoch: 7 },
    });
    const asked = payload.replace('18446744073709551615', '0').replace('9007199254740993', '0');
    expect(parseTask(TaskType.REPLICA_COPY, asked)).toMatchObject({ dynamic: null });
  });

  it('reads a move, of keys with any text in them', () => {
    const key = '"dynamic_replication_lease_id_high": 12';
    const payload = JSON.stringify({ tenant_id: 't', key, source: 'a', target: 'b' });
    expect(parseTask(TaskType.REPLICA_MOVE, payload)).toEqual({
      kind: 'move',
      key,
      tenantId: 't',
      source: 'a',
      target: 'b',
    });
  });

  it.each([
    [TaskType.REPLICA_COPY, 'no JSON'],
    [TaskType.REPLICA_COPY, 'null'],
    [TaskType.REPLICA_COPY, '{"key":"k","source":"a","targets":"b"}'],
    [TaskType.REPLICA_COPY, '{"key":"k","source":"a","targets":[1]}'],
    [TaskType.REPLICA_MOVE, '{"key":"k","source":"a"}'],
    [TaskType.REPLICA_MOVE, '{"source":"a","target":"b"}'],
    [7, '{"key":"k","source":"a","target":"b","targets":[]}'],
  ])('refuses task %d: %s', (type, payload) => {
    expect(parseTask(type, payload)).toBeNull();
  });
});
