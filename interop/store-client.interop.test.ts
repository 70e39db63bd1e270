import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { SystemClock, SystemRandom } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { RpcClient } from '@tsukimi/rpc';
import type { Outcome } from '@tsukimi/store';
import { allocateMemory } from '@tsukimi/transfer';
import {
  ErrorCode,
  errorName,
  type MasterProtocol,
  makeUuid,
  masterProtocol,
  ObjectDataType,
  type Uuid,
} from '@tsukimi/wire';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Processes } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';
import { type OwnClient, startOwnClient } from './own-client.ts';
import { answered, bytes, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

/** Long enough for a read of 64 MiB on a busy machine, short enough to be waited out. */
const leaseMs = 3_000;
const segmentByteCount = 512 * 2 ** 20;
const pendingTaskCountMax = 8;

/** The name of the error, or what came of it. */
function nameOf(outcome: Outcome<unknown>): unknown {
  return 'error' in outcome ? errorName(outcome.error) : outcome.ok;
}

function valueOf<T>(outcome: Outcome<T>): T {
  if ('error' in outcome) throw new Error(`the call answered ${errorName(outcome.error)}`);
  return outcome.ok;
}

/** Another client of the master, which may break off in the middle of anything. */
function rawClient({ port }: Master): RpcClient<MasterProtocol> & Disposable {
  const address = { host: '127.0.0.1', port };
  const client = new RpcClient({ address, protocol: masterProtocol, clock: new SystemClock() });
  return Object.assign(client, { [Symbol.dispose]: () => client.close() });
}

describe('Our store client and the real master that keeps tenants apart', () => {
  it('speaks for one tenant', async () => {
    await using processes = new Processes();
    const policy = join(processes.directory, 'tenants.yaml');
    writeFileSync(policy, 'version: 1\ntenants: []\n');
    const master = await startRealMaster(processes, {
      flags: ['--enable_multi_tenants=true', `--tenant_quota_connector_uri=${policy}`],
    });
    const place = { metadata: master.metadata, master: master.address };
    const lent = { segmentByteCount: 16 * 2 ** 20 };
    await using lender = await startOwnClient({ ...place, ...lent, name: '127.0.0.1:17151' });
    const quota = (tenant: string, bytes: number) =>
      fetch(`${master.adminUrl}/api/v1/tenant_quotas?tenant_id=${tenant}`, {
        method: 'PUT',
        body: JSON.stringify({ requested_quota_bytes: bytes }),
      });
    for (const tenant of ['one', 'two']) expect((await quota(tenant, 100_000)).status).toBe(200);
    const joinAs = (tenantId: string, port: number) =>
      startOwnClient({ ...place, name: `127.0.0.1:${port}`, segmentByteCount: 0, tenantId });
    await using one = await joinAs('one', 17_152);
    await using two = await joinAs('two', 17_153);
    await using nobody = await joinAs('nobody', 17_154);
    await using malformed = await joinAs('_bad', 17_155);
    const put = async ({ store }: OwnClient, key: string, fill: number) =>
      nameOf(
        await store.objects.put(key, Buffer.alloc(60_000, fill), { config: { withHardPin: true } }),
      );
    expect(await put(one, 'k', 1)).toBe('stored');
    expect(await put(two, 'k', 2)).toBe('stored');
    expect(valueOf(await one.store.objects.get('k'))[0]).toBe(1);
    expect(valueOf(await two.store.objects.get('k'))[0]).toBe(2);
    expect(await put(one, 'l', 1)).toBe('TENANT_QUOTA_EXCEEDED');
    for (const stranger of [nobody, malformed, lender]) {
      expect(await put(stranger, 'k', 3)).toBe('TENANT_NOT_REGISTERED');
      const read = nameOf(await stranger.store.objects.get('k'));
      expect(read).toBe(stranger === malformed ? 'INVALID_PARAMS' : 'OBJECT_NOT_FOUND');
    }
    expect(await one.store.objects.removeAll({ force: true })).toEqual({ ok: 1 });
    expect(await two.store.objects.exist('k')).toEqual({ ok: true });
  });
});

describe.each([
  ['the real master', startRealMaster],
  ['our master', startOwnMaster],
] as const)('Our store client and %s', (_, startMaster) => {
  let processes: Processes;
  let master: Master;
  let first: OwnClient;
  let second: OwnClient;
  let borrower: OwnClient;
  const joining = (name: string, lent: number, more: object = {}) =>
    startOwnClient({
      name,
      metadata: master.metadata,
      master: master.address,
      segmentByteCount: lent,
      ...more,
    });

  beforeAll(async () => {
    processes = new Processes();
    master = await startMaster(processes, {
      flags: [
        `--default_kv_lease_ttl=${leaseMs}`,
        `--max_total_pending_tasks=${pendingTaskCountMax}`,
      ],
    });
    first = await joining('127.0.0.1:17101', segmentByteCount);
    second = await joining('127.0.0.1:17102', segmentByteCount);
    borrower = await joining('127.0.0.1:17103', 0);
  });
  afterAll(async () => {
    for (const client of [borrower, second, first]) await client[Symbol.asyncDispose]();
    await processes[Symbol.asyncDispose]();
  });
  /** Each test begins with an empty store. */
  const clear = async () => {
    valueOf(await first.store.objects.removeAll({ force: true }));
  };

  it.each([1, 100, 65_536, 1_048_577, 16 * 2 ** 20, 64 * 2 ** 20])(
    'puts and gets %d bytes from any to any, in every way',
    async (byteCount) => {
      await clear();
      const bytes = patternBytes(byteCount, byteCount);
      for (const writer of [first, borrower]) {
        const { objects } = writer.store;
        const key = `${writer.store.hostname}/${byteCount}`;
        const half = byteCount >> 1;
        expect(nameOf(await objects.put(key, bytes))).toBe('stored');
        const parts = [bytes.subarray(0, half), bytes.subarray(half)];
        expect(nameOf(await objects.put(`${key}/parts`, parts))).toBe('stored');
        for (const reader of [first, second, borrower]) {
          const got = valueOf(await reader.store.objects.get(key));
          expect(got.equals(bytes)).toBe(true);
          const into = Buffer.alloc(byteCount + 1);
          expect(await reader.store.objects.getInto(`${key}/parts`, into)).toEqual({
            ok: byteCount,
          });
          expect(into.subarray(0, byteCount).equals(bytes)).toBe(true);
          const tail = Buffer.alloc(byteCount - half);
          const range = { offset: half, into: tail };
          expect(await reader.store.objects.getRanges([{ key, ranges: [range] }])).toEqual([
            { ok: tail.length },
          ]);
          expect(tail.equals(bytes.subarray(half))).toBe(true);
          const lent = valueOf(await reader.store.objects.getBuffer(key));
          expect(lent.bytes.equals(bytes)).toBe(true);
          lent.release();
          expect(await reader.store.objects.size(key)).toEqual({ ok: byteCount });
          reader.store.checkInvariants();
        }
      }
    },
  );

  it('refuses what the wheel refuses, without a call', async () => {
    const { objects } = first.store;
    const value = Buffer.from('value');
    expect(nameOf(await objects.put('empty', Buffer.alloc(0)))).toBe('INVALID_PARAMS');
    expect(nameOf(await objects.put('empty', []))).toBe('INVALID_PARAMS');
    expect(nameOf(await objects.put('', value))).toBe('INVALID_PARAMS');
    expect(nameOf(await objects.get(''))).toBe('INVALID_PARAMS');
    const sameNode = { config: { preferAllocInSameNode: true } };
    expect(nameOf(await objects.put('k', value, sameNode))).toBe('INVALID_PARAMS');
    const groups = { config: { groupIds: ['a', 'b'] } };
    expect(nameOf(await objects.put('k', value, groups))).toBe('INVALID_PARAMS');
    expect((await objects.putBatch(['k', 'l'], [value])).map(nameOf)).toEqual([
      'INVALID_PARAMS',
      'INVALID_PARAMS',
    ]);
    expect(nameOf(await objects.reserve('k', 0))).toBe('INVALID_PARAMS');
  });

  it('hears from the master what it refuses', async () => {
    await clear();
    const { objects } = first.store;
    const value = Buffer.from('value');
    expect(nameOf(await objects.put('k', value, { config: { replicaNum: 0 } }))).toBe(
      'INVALID_PARAMS',
    );
    const pinned = { softPinAction: 1, softPinTtlMs: 25 * 3_600_000 };
    expect(nameOf(await objects.put('k', value, { config: pinned }))).toBe('INVALID_PARAMS');
    expect(nameOf(await objects.put('k', value, { config: { nofReplicaNum: 1 } }))).toBe(
      'INVALID_PARAMS',
    );
    expect(nameOf(await objects.removeByRegex('('))).toBe('INVALID_PARAMS');
    expect(nameOf(await objects.replicasByRegex('('))).toBe('INVALID_PARAMS');
    expect(nameOf(await objects.get('k'))).toBe('OBJECT_NOT_FOUND');
  });

  it('obeys every wish about where and how', async () => {
    await clear();
    const { objects } = borrower.store;
    const value = Buffer.from('value');
    const endpointsOf = async (key: string) =>
      valueOf(await objects.replicas(key)).flatMap(({ location }) =>
        location.kind === 'memory' ? [location.buffer.transportEndpoint] : [],
      );
    for (const { store } of [first, second]) {
      const key = `at/${store.hostname}`;
      const config = { preferredSegments: [store.hostname] };
      expect(nameOf(await objects.put(key, value, { config }))).toBe('stored');
      expect(await endpointsOf(key)).toEqual([store.hostname]);
    }
    const config = {
      replicaNum: 5,
      withHardPin: true,
      softPinAction: 1,
      softPinTtlMs: 60_000,
      dataType: ObjectDataType.KVCACHE,
      hostId: 'somewhere',
      groupIds: ['g1', 'g2'],
    };
    const put = await objects.putBatch(['wide/1', 'wide/2'], [value, value], { config });
    expect(put.map(nameOf)).toEqual(['stored', 'stored']);
    expect(new Set(await endpointsOf('wide/1'))).toEqual(
      new Set([first.store.hostname, second.store.hostname]),
    );
    const all = await objects.replicasBatch(['wide/2', 'none']);
    expect(all.map((each) => ('ok' in each ? each.ok.length : errorName(each.error)))).toEqual([
      2,
      'OBJECT_NOT_FOUND',
    ]);
    const found = valueOf(await objects.replicasByRegex('^wide/'));
    expect(new Set(found.map(([key]) => key))).toEqual(new Set(['wide/1', 'wide/2']));
  });

  it('upserts what is there and what is not, of the same size and another', async () => {
    await clear();
    for (const value of ['first', 'FIRST', 'longer than that']) {
      expect(nameOf(await borrower.store.objects.upsert('k', Buffer.from(value)))).toBe('stored');
      expect(valueOf(await first.store.objects.get('k')).toString()).toBe(value);
    }
    const batch = await second.store.objects.upsertBatch(
      ['k', 'l', ''],
      [Buffer.from('x'), [Buffer.from('y'), Buffer.from('z')], Buffer.from('0')],
    );
    expect(batch.map(nameOf)).toEqual(['stored', 'stored', 'INVALID_PARAMS']);
    const got = await first.store.objects.getBatch(['k', 'l', 'm', '']);
    expect(got.map((each) => ('ok' in each ? each.ok.toString() : errorName(each.error)))).toEqual([
      'x',
      'yz',
      'OBJECT_NOT_FOUND',
      'INVALID_PARAMS',
    ]);
  });

  it('finds, leases and removes', async () => {
    await clear();
    const { objects } = first.store;
    const value = Buffer.from('value');
    const keys = ['a/1', 'a/2', 'b/1', 'b/2'];
    await objects.putBatch(
      keys,
      keys.map(() => value),
    );
    expect(await objects.existBatch([...keys.slice(0, 2), 'none'])).toEqual([
      { ok: true },
      { ok: true },
      { ok: false },
    ]);
    expect(nameOf(await objects.remove('a/1'))).toBe('OBJECT_HAS_LEASE');
    expect(nameOf(await objects.remove('b/1'))).toBe(undefined);
    expect(nameOf(await objects.remove('b/1'))).toBe('OBJECT_NOT_FOUND');
    expect(await objects.removeByRegex('^(a|b)/')).toEqual({ ok: 1 });
    expect(await objects.removeAll()).toEqual({ ok: 0 });
    expect(await objects.clearReplicas(['a/1'], '')).toEqual({ ok: [] });
    expect(nameOf(await objects.remove('a/1', { force: true }))).toBe(undefined);
    await pause(leaseMs + 100);
    expect(await objects.clearReplicas(['a/2'], '')).toEqual({ ok: ['a/2'] });
    expect(nameOf(await objects.get('a/2'))).toBe('OBJECT_NOT_FOUND');
  });

  it('does not read after the lease', async () => {
    await clear();
    const { objects } = borrower.store;
    await objects.put('k', Buffer.from('value'));
    const [found] = await objects.find(['k']);
    const object = valueOf(found as NonNullable<typeof found>);
    const into = Buffer.alloc(3);
    expect(await objects.readRanges(object, [{ offset: 2, into }])).toEqual({ ok: 3 });
    expect(into.toString()).toBe('lue');
    expect(nameOf(await objects.readRanges(object, [{ offset: 3, into }]))).toBe('INVALID_PARAMS');
    await pause(leaseMs);
    expect(nameOf(await objects.readRanges(object, [{ offset: 0, into }]))).toBe('LEASE_EXPIRED');
    expect(nameOf(await objects.getInto('k', Buffer.alloc(4)))).toBe('INVALID_PARAMS');
    expect(nameOf(await objects.get('k', { byteCountMax: 4 }))).toBe('BUFFER_OVERFLOW');
  });

  it('fills objects part by part, seen by nobody until they are whole', async () => {
    await clear();
    const { objects } = borrower.store;
    const reservation = valueOf(await objects.reserve('k', 6, { config: { replicaNum: 2 } }));
    expect(nameOf(await objects.size('k'))).toBe('REPLICA_IS_NOT_READY');
    expect(nameOf(await objects.remove('k', { force: true }))).toBe('REPLICA_IS_NOT_READY');
    expect(nameOf(await first.store.objects.reserve('k', 6))).toBe('OBJECT_ALREADY_EXISTS');
    expect(nameOf(await reservation.write(3, Buffer.from('def')))).toBe(undefined);
    expect(nameOf(await reservation.write(0, Buffer.from('abc')))).toBe(undefined);
    expect(nameOf(await reservation.write(4, Buffer.from('xyz')))).toBe('INVALID_PARAMS');
    // A put of the same key waits for this writer, and then finds what it wrote.
    const waiting = first.store.objects.put('k', Buffer.from('other'));
    await pause(200);
    expect(nameOf(await reservation.end())).toBe(undefined);
    expect(nameOf(await waiting)).toBe('present');
    expect(nameOf(await reservation.end())).toBe('INVALID_PARAMS');
    expect(valueOf(await second.store.objects.get('k')).toString()).toBe('abcdef');
    const other = valueOf(await objects.reserve('other', 6));
    // Nor is nothing called a success while another writer is at it.
    const late = await first.store.objects.put('other', Buffer.from('v'), { timeoutMs: 300 });
    expect(nameOf(late)).toBe('OBJECT_ALREADY_EXISTS');
    expect(nameOf(await other.revoke())).toBe(undefined);
    expect(nameOf(await first.store.objects.put('other', Buffer.from('v')))).toBe('stored');
    // Who was overtaken by an upsert is told.
    const overtaken = valueOf(await objects.reserve('overtaken', 6));
    expect(nameOf(await first.store.objects.upsert('overtaken', Buffer.from('v')))).toBe('stored');
    expect(nameOf(await overtaken.end())).toBe('ILLEGAL_CLIENT');
  });

  it('writes checksums when asked to, and checks them always', async () => {
    await clear();
    await using summing = await joining('127.0.0.1:17104', 64 * 2 ** 20, { checksums: true });
    const bytes = patternBytes(9, 1_000_003);
    const config = { preferredSegments: [summing.store.hostname] };
    for (const key of ['summed', 'broken']) {
      expect(nameOf(await summing.store.objects.put(key, bytes, { config }))).toBe('stored');
      expect(valueOf(await borrower.store.objects.get(key)).equals(bytes)).toBe(true);
    }
    const [location] = valueOf(await borrower.store.objects.replicas('broken')).map(
      (replica) => replica.location,
    );
    if (location?.kind !== 'memory') return expect.fail('the object lies in memory');
    const memory = summing.store.segmentMemory;
    const at = Number(location.buffer.bufferAddress - (memory?.baseAddress ?? 0n));
    memory?.view.fill(0, at + 500, at + 600);
    expect(nameOf(await borrower.store.objects.get('broken'))).toBe('CHECKSUM_MISMATCH');
    // A second copy that is whole is found.
    const copied = valueOf(await summing.store.tasks.copy('summed', [first.store.hostname]));
    await eventually(
      async () => valueOf(await borrower.store.objects.replicas('summed')).length === 2,
      'the copy',
    );
    expect(copied).toMatch(/^\d+-\d+$/);
    memory?.view.fill(0);
    expect(valueOf(await borrower.store.objects.get('summed')).equals(bytes)).toBe(true);
  });

  it('agrees with the wheel on checksums, both ways', async () => {
    await clear();
    await using summing = await joining('127.0.0.1:17109', 0, { checksums: true });
    const python = new PythonClient(processes, installWheel(), { MOONCAKE_STORE_CHECKSUM: '1' });
    const code = await python.setup({
      name: '127.0.0.1:17110',
      metadata: master.metadata,
      master: master.address,
      bufferByteCount: 64 << 20,
    });
    expect(code).toBe(0);
    const config = { preferredSegments: [first.store.hostname] };
    for (const size of [1, 7, 4_099, 3_000_001]) {
      expect(await python.store('put', `python/${size}`, pattern(size, size))).toBe(0);
      const [found] = await summing.store.objects.find([`python/${size}`]);
      const object = valueOf(found as NonNullable<typeof found>);
      expect(object.checksum).not.toBeNull();
      const value = patternBytes(size, size);
      expect(valueOf(await summing.store.objects.get(object.key)).equals(value)).toBe(true);
      const own = `own/${size}`;
      expect(nameOf(await summing.store.objects.put(own, value, { config }))).toBe('stored');
      expect(await python.store('get', own)).toEqual(answered(value));
    }
    // The wheel refuses what is damaged under our checksum: its get gives nothing.
    first.store.segmentMemory?.view.fill(0);
    expect(await python.store('get', 'own/4099')).toEqual(bytes(''));
    await python.store('close');
  });

  it('copies and moves when the master asks', async () => {
    await clear();
    const { objects, tasks } = borrower.store;
    const from = first.store.hostname;
    const to = second.store.hostname;
    const bytes = patternBytes(3, 3_000_000);
    await objects.put('k', bytes, { config: { preferredSegments: [from] } });
    const done = async (id: Uuid) => {
      await eventually(async () => valueOf(await tasks.query(id)).status >= 2, 'the task', 10_000);
      const { status, message } = valueOf(await tasks.query(id));
      return status === 3 ? 'done' : message;
    };
    const endpoints = async () =>
      valueOf(await objects.replicas('k')).map(({ location }) =>
        location.kind === 'memory' ? location.buffer.transportEndpoint : location.kind,
      );
    expect(await done(valueOf(await tasks.copy('k', [to])))).toBe('done');
    expect(new Set(await endpoints())).toEqual(new Set([from, to]));
    await pause(leaseMs + 100);
    expect(await objects.clearReplicas(['k'], from)).toEqual({ ok: ['k'] });
    expect(await done(valueOf(await tasks.move('k', to, from)))).toBe('done');
    expect(await endpoints()).toEqual([from]);
    expect(valueOf(await objects.get('k')).equals(bytes)).toBe(true);
    expect(nameOf(await tasks.copy('none', [to]))).toBe('OBJECT_NOT_FOUND');
    expect(nameOf(await tasks.move('k', 'nowhere', to))).toBe('INVALID_PARAMS');
    expect(nameOf(await tasks.move('k', to, to))).toBe('INVALID_PARAMS');
    expect(nameOf(await tasks.copy('k', ['nowhere']))).toBe('INVALID_PARAMS');
    expect(nameOf(await tasks.query('1-2' as Uuid))).toBe('TASK_NOT_FOUND');
  });

  it('keeps off what is being copied', async () => {
    await clear();
    const { objects, tasks } = borrower.store;
    const from = first.store.hostname;
    const to = second.store.hostname;
    const value = Buffer.from('value');
    await objects.put('k', value, { config: { preferredSegments: [from] } });
    using copier = rawClient(master);
    const object = [makeUuid(new SystemRandom()), 'k', 'default'] as const;
    const start = await copier.call('CopyStart', [...object, from, [to]]);
    expect(nameOf(await objects.remove('k'))).toBe('REPLICA_IS_NOT_READY');
    expect(nameOf(await objects.upsert('k', value))).toBe('OBJECT_HAS_REPLICATION_TASK');
    expect(nameOf(start)).toMatchObject({ targets: [{ status: 2 }] });
    expect(nameOf(await copier.call('CopyRevoke', [...object]))).toBe(undefined);
    expect(nameOf(await objects.upsert('k', value))).toBe('stored');
    // As many as the master keeps, then no more; all of them are carried out in the end.
    const created = await Promise.all(
      Array.from({ length: 4 * pendingTaskCountMax }, () => tasks.copy('k', [to])),
    );
    const refused = created.filter((each) => nameOf(each) === 'TASK_PENDING_LIMIT_EXCEEDED');
    expect(refused.length).toBeGreaterThan(0);
    await eventually(
      async () => valueOf(await tasks.query(valueOf(created[0] as Outcome<Uuid>))).status >= 2,
      'the tasks',
    );
  });

  it('lends more and less while it runs', async () => {
    await clear();
    await using lender = await joining('127.0.0.1:17105', 0);
    const { objects, segments } = lender.store;
    const config = { preferredSegments: ['127.0.0.1:17105'] };
    const ids: Uuid[] = [];
    for (const byteCount of [32 * 2 ** 20, 48 * 2 ** 20]) {
      ids.push(valueOf(await segments.mount({ byteCount, shared: false })));
    }
    await eventually(() => lender.store.state === 'serving', 'the segments');
    expect(segments.list.map(({ size }) => size)).toEqual([32 * 2 ** 20, 48 * 2 ** 20]);
    expect(await segments.status('127.0.0.1:17105')).toEqual({ ok: 1 });
    // Only the larger one has room for it.
    const large = Buffer.alloc(40 * 2 ** 20, 1);
    expect(nameOf(await objects.put('large', large, { config }))).toBe('stored');
    expect(valueOf(await borrower.store.objects.get('large')).equals(large)).toBe(true);
    // Life signs go on: nothing is lost after the master's patience.
    await pause(1_500);
    expect(lender.store.state).toBe('serving');
    expect(await segments.unmount(ids[0] as Uuid, { graceMs: 1_000 })).toEqual({ ok: undefined });
    expect(nameOf(await segments.unmount(ids[0] as Uuid))).toBe('INVALID_PARAMS');
    expect(await segments.unmount(ids[1] as Uuid)).toEqual({ ok: undefined });
    expect(nameOf(await objects.get('large'))).toBe('OBJECT_NOT_FOUND');
    expect(nameOf(await segments.status('nowhere'))).toBe('SEGMENT_NOT_FOUND');
    expect(nameOf(await segments.unmountLocalDisk())).toBe('UNABLE_OFFLOAD');
    expect(nameOf(await segments.mount({ byteCount: 0, shared: false }))).toBe('INVALID_PARAMS');
  });

  it('makes memory known to the transfer engine once', () => {
    const memory = allocateMemory({ byteCount: 4_096, shared: false, label: 'test' });
    expect(nameOf(first.store.registerBuffer(memory))).toBe(undefined);
    expect(nameOf(first.store.registerBuffer(memory))).toBe('INVALID_PARAMS');
    expect(nameOf(first.store.unregisterBuffer(memory))).toBe(undefined);
    expect(nameOf(first.store.unregisterBuffer(memory))).toBe('INVALID_PARAMS');
  });

  it('reads and writes elsewhere when a holder of segments is gone', async () => {
    await clear();
    const leaving = await joining('127.0.0.1:17106', segmentByteCount);
    const bytes = patternBytes(5, 12 * 2 ** 20);
    const { objects } = borrower.store;
    const here = { preferredSegments: [leaving.store.hostname] };
    await objects.put('alone', bytes, { config: here });
    await objects.put('twice', bytes, {
      config: { replicaNum: 2, preferredSegments: [leaving.store.hostname, first.store.hostname] },
    });
    // Its data port is closed while its life signs go on, so that the master knows nothing.
    await leaving.engine.stop(AbortSignal.abort());
    expect(valueOf(await objects.get('twice')).equals(bytes)).toBe(true);
    expect(nameOf(await objects.get('alone'))).toBe('TRANSFER_FAIL');
    const keys = Array.from({ length: 30 }, (_, index) => `after/${index}`);
    for (const [index, key] of keys.entries()) {
      const config = index % 2 === 0 ? {} : { replicaNum: 2 };
      expect(nameOf(await objects.put(key, bytes.subarray(0, 50_000), { config }))).toBe('stored');
    }
    // Also by one that has seen nobody work yet.
    await using newcomer = await joining('127.0.0.1:17107', 0);
    expect(nameOf(await newcomer.store.objects.put('new', bytes, { config: here }))).toBe('stored');
    await leaving[Symbol.asyncDispose]();
  });

  it('gives errors, never blocks and never fails otherwise when it is closed', async () => {
    const closed = await joining('127.0.0.1:17108', 2 ** 20);
    expect(closed.store.health).toBe('healthy');
    await closed[Symbol.asyncDispose]();
    const { objects, segments, tasks } = closed.store;
    const outcomes = [
      await objects.put('k', Buffer.from('v')),
      await objects.upsert('k', Buffer.from('v')),
      await objects.get('k'),
      await objects.getInto('k', Buffer.alloc(8)),
      ...(await objects.getRanges([{ key: 'k', ranges: [] }])),
      await objects.size('k'),
      await objects.exist('k'),
      await objects.remove('k'),
      await objects.removeByRegex('k'),
      await objects.removeAll(),
      await objects.replicas('k'),
      await objects.reserve('k', 1),
      await segments.mount({ byteCount: 4_096, shared: false }),
      await segments.status('k'),
      await tasks.copy('k', []),
      closed.store.registerBuffer(
        allocateMemory({ byteCount: 4_096, shared: false, label: 'test' }),
      ),
    ];
    expect(new Set(outcomes.map(nameOf))).toEqual(new Set(['UNAVAILABLE_IN_CURRENT_STATUS']));
    expect(closed.store.health).toBe('closed');
  });

  it('says when there is no room', async () => {
    // After this the master evicts what nobody leases, whether that helps or not.
    const huge = await first.store.objects.reserve('huge', 4 * segmentByteCount);
    expect(nameOf(huge)).toBe('NO_AVAILABLE_HANDLE');
  });

  it('ends every call at its deadline when the master hangs or is dead', async () => {
    await clear();
    const { objects } = borrower.store;
    await objects.put('k', Buffer.from('v'), { config: { withHardPin: true } });
    const within = async (limitMs: number, act: () => Promise<Outcome<unknown>>) => {
      const startMs = performance.now();
      const outcome = await act();
      expect(performance.now() - startMs).toBeLessThan(limitMs);
      return nameOf(outcome);
    };
    master.started.child.kill('SIGSTOP');
    const stat = `/proc/${master.started.child.pid}/stat`;
    await eventually(() => readFileSync(stat, 'latin1').includes(') T '), 'the master to stop');
    const limit = { timeoutMs: 200 };
    expect(await within(2_000, () => objects.get('k', limit))).toBe('RPC_TIMEOUT');
    expect(await within(3_500, () => objects.put('l', Buffer.from('v'), limit))).toBe(
      'RPC_TIMEOUT',
    );
    master.started.child.kill('SIGCONT');
    await eventually(async () => 'ok' in (await objects.get('k')), 'the master to go on', 30_000);
    master.started.child.kill('SIGKILL');
    await master.started.exited;
    await eventually(() => borrower.store.health === 'master-unreachable', 'the loss', 30_000);
    for (const act of [
      () => objects.get('k'),
      () => objects.put('m', Buffer.from('v')),
      () => objects.exist('k'),
      () => objects.remove('k'),
      () => borrower.store.segments.status('k'),
    ]) {
      expect(await within(1_000, act)).toBe('RPC_FAIL');
    }
    expect(ErrorCode.RPC_FAIL).toBe(-900);
  });
});
