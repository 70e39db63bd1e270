import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';
import { errorName } from '@tsukimi/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Outcome } from '../src/index.ts';
import { type Member, TestCluster } from './cluster.ts';

const segmentByteCount = 48 * 2 ** 20;

function bytesOf(seed: number, byteCount: number): Buffer {
  const period = Uint8Array.from({ length: 251 }, (_, at) => (at * 31 + seed) & 0xff);
  return Buffer.alloc(byteCount, period);
}

function nameOf(outcome: Outcome<unknown>): unknown {
  return 'error' in outcome ? errorName(outcome.error) : outcome.ok;
}

function valueOf<T>(outcome: Outcome<T>): T {
  if ('error' in outcome) throw new Error(`the call answered ${errorName(outcome.error)}`);
  return outcome.ok;
}

let cluster: TestCluster;
let lenders: readonly [Member, Member];
let borrower: Member;
const nameA = '127.0.0.1:1';
const nameB = '127.0.0.1:2';
beforeEach(async () => {
  cluster = await TestCluster.start();
  const lender = (name: string) =>
    cluster.serving({ name, segmentByteCount, shared: false, checksums: true });
  lenders = [await lender(nameA), await lender(nameB)];
  borrower = await cluster.serving({
    name: '127.0.0.1:3',
    segmentByteCount: null,
    shared: false,
    checksums: true,
  });
});
afterEach(async () => {
  for (const { store } of [...lenders, borrower]) store.checkInvariants();
  cluster.master.core.checkInvariants();
  await cluster.stop();
});

/** Its data port is closed while its life signs go on, so that the master knows nothing. */
async function cutOff({ engine }: Member): Promise<void> {
  await engine.stop(AbortSignal.abort());
}

function endpointsOf(member: Member, key: string): Promise<string[]> {
  return member.store.objects
    .replicas(key)
    .then((outcome) =>
      valueOf(outcome).flatMap(({ location }) =>
        location.kind === 'memory' ? [location.buffer.transportEndpoint] : [],
      ),
    );
}

describe('Objects', () => {
  it('take a put to another segment when its own does not take it', async () => {
    const { objects } = borrower.store;
    await cutOff(lenders[0]);
    const here = { preferredSegments: [nameA] };
    // Nobody is known to work yet; all replicas but those on the dead segment remain.
    for (const [key, config] of [
      ['one', here],
      ['two', { ...here, replicaNum: 2 }],
    ] as const) {
      expect(nameOf(await objects.put(key, bytesOf(1, 1_000), { config }))).toBe('stored');
      expect(await endpointsOf(borrower, key)).toEqual([nameB]);
      expect(valueOf(await objects.get(key)).equals(bytesOf(1, 1_000))).toBe(true);
    }
    expect(cluster.master.core.unfinishedPutCount).toBe(0);
  });

  it('say so when no segment takes a put', async () => {
    for (const lender of lenders) await cutOff(lender);
    expect(nameOf(await borrower.store.objects.put('k', bytesOf(1, 10)))).toBe('TRANSFER_FAIL');
    expect(cluster.master.core.unfinishedPutCount).toBe(0);
    expect(cluster.master.core.objectCount).toBe(0);
  });

  it('are read from all their holders at once, also when one of them is gone', async () => {
    const bytes = bytesOf(2, 17 * 2 ** 20 + 3);
    const { objects } = borrower.store;
    expect(nameOf(await objects.put('k', bytes, { config: { replicaNum: 2 } }))).toBe('stored');
    expect(valueOf(await objects.get('k')).equals(bytes)).toBe(true);
    await cutOff(lenders[1]);
    expect(valueOf(await objects.get('k')).equals(bytes)).toBe(true);
    // Known by now, the dead one is asked last.
    expect(valueOf(await objects.get('k')).equals(bytes)).toBe(true);
    const tail = Buffer.alloc(5);
    const range = { offset: bytes.length - 5, into: tail };
    expect(await objects.getRanges([{ key: 'k', ranges: [range] }])).toEqual([{ ok: 5 }]);
    expect(tail.equals(bytes.subarray(-5))).toBe(true);
  });

  it.each([
    ['small', 1_000],
    ['striped', 9 * 2 ** 20],
  ])('that are damaged on one holder are read from another: %s', async (key, byteCount) => {
    const bytes = bytesOf(3, byteCount);
    const { objects } = borrower.store;
    expect(nameOf(await objects.put(key, bytes, { config: { replicaNum: 2 } }))).toBe('stored');
    lenders[0].store.segmentMemory?.view.fill(0);
    expect(valueOf(await objects.get(key)).equals(bytes)).toBe(true);
    lenders[1].store.segmentMemory?.view.fill(0);
    expect(nameOf(await objects.get(key))).toBe('CHECKSUM_MISMATCH');
    expect(await borrower.store.get(key, byteCount)).toBeNull();
  });

  it('wait for another writer, and follow it when it gives up', async () => {
    const { objects } = borrower.store;
    const others = lenders[0].store.objects;
    const reserved = valueOf(await others.reserve('k', 3));
    const early = await objects.put('k', bytesOf(1, 5), { timeoutMs: 500 });
    expect(nameOf(early)).toBe('OBJECT_ALREADY_EXISTS');
    const waiting = objects.put('k', bytesOf(1, 5));
    await reserved.write(0, Buffer.from('abc'));
    await reserved.end();
    expect(nameOf(await waiting)).toBe('present');
    const given = valueOf(await others.reserve('l', 3));
    const next = objects.put('l', bytesOf(1, 5));
    await given.revoke();
    expect(nameOf(await next)).toBe('stored');
  });

  it('wait for room as long as they may', async () => {
    const { objects } = borrower.store;
    const half = bytesOf(1, segmentByteCount / 2 + 1);
    const pinned = { config: { withHardPin: true } };
    for (const key of ['a', 'b']) {
      expect(nameOf(await objects.put(key, half, pinned))).toBe('stored');
    }
    const late = await objects.put('c', half, { timeoutMs: 500 });
    expect(nameOf(late)).toBe('NO_AVAILABLE_HANDLE');
    const waiting = objects.putBatch(['c', 'd'], [half, bytesOf(2, 10)], pinned);
    await eventually(async () => valueOf(await objects.exist('d')), 'what fits to be stored');
    expect(nameOf(await objects.remove('a', { force: true }))).toBe(undefined);
    expect((await waiting).map(nameOf)).toEqual(['stored', 'stored']);
  });

  it('are written one write at a time by one client', async () => {
    const { objects } = borrower.store;
    const twice = await objects.putBatch(['k', 'k'], [bytesOf(1, 10), bytesOf(2, 10)]);
    expect(twice.map(nameOf)).toEqual(['stored', 'present']);
    const upserts = await Promise.all(
      [3, 4, 5, 6].map((seed) => objects.upsert('k', bytesOf(seed, 200_000 + seed))),
    );
    expect(new Set(upserts.map(nameOf))).toEqual(new Set(['stored']));
    const got = valueOf(await objects.get('k'));
    expect(got.equals(bytesOf(got.length - 200_000, got.length))).toBe(true);
    const reserved = valueOf(await objects.reserve('r', 3));
    const busy = await objects.put('r', bytesOf(1, 3), { timeoutMs: 500 });
    expect(nameOf(busy)).toBe('OBJECT_ALREADY_EXISTS');
    expect(nameOf(await reserved.revoke())).toBe(undefined);
    expect(nameOf(await objects.put('r', bytesOf(1, 3)))).toBe('stored');
  });

  it('are lent from the pool and given back', async () => {
    const { objects } = borrower.store;
    await objects.put('k', [bytesOf(1, 10), bytesOf(2, 10)]);
    const lent = await objects.getBufferBatch(['k', 'none']);
    expect(nameOf(lent[1] as Outcome<unknown>)).toBe('OBJECT_NOT_FOUND');
    const buffer = valueOf(lent[0] as (typeof lent)[number]);
    expect(buffer.bytes.equals(Buffer.concat([bytesOf(1, 10), bytesOf(2, 10)]))).toBe(true);
    expect(() => borrower.store.checkInvariants()).toThrow('holds no staging memory');
    buffer.release();
  });
});

describe('Segments', () => {
  it('may lie in a file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsukimi-segment-'));
    const path = join(directory, 'segment');
    writeFileSync(path, '');
    truncateSync(path, 3 * 4_096);
    const { segments, objects } = borrower.store;
    const mount = (offset: number, byteCount: number, file = path) =>
      segments.mount({ path: file, offset, byteCount });
    expect(nameOf(await mount(0, 4_096, `${path}/not`))).toBe('FILE_OPEN_FAIL');
    for (const [offset, byteCount] of [
      [1, 4_096],
      [4_096, 3 * 4_096],
      [0, 0],
      [-4_096, 4_096],
    ] as const) {
      expect(nameOf(await mount(offset, byteCount))).toBe('INVALID_PARAMS');
    }
    const id = valueOf(await mount(4_096, 2 * 4_096));
    const config = { preferredSegments: [borrower.store.hostname] };
    expect(nameOf(await objects.put('k', bytesOf(1, 5_000), { config }))).toBe('stored');
    expect(valueOf(await lenders[0].store.objects.get('k')).equals(bytesOf(1, 5_000))).toBe(true);
    expect(readFileSync(path).includes(bytesOf(1, 5_000))).toBe(true);
    expect(nameOf(await segments.unmount(id))).toBe(undefined);
    rmSync(directory, { recursive: true });
  });

  it('come and go at run time, and survive a restart of the master', async () => {
    const { segments, objects } = borrower.store;
    const ids = [];
    for (const byteCount of [2 ** 20, 2 ** 21]) {
      ids.push(valueOf(await segments.mount({ byteCount, shared: false })));
    }
    await eventually(() => borrower.store.state === 'serving', 'the segments to be served');
    expect(cluster.master.core.segments().length).toBe(4);
    await cluster.restartMaster();
    await eventually(() => cluster.master.core.segments().length === 4, 'all of them again');
    await eventually(() => borrower.store.state === 'serving', 'the segments to be served');
    const config = { preferredSegments: [borrower.store.hostname] };
    expect(nameOf(await objects.put('k', bytesOf(1, 10), { config }))).toBe('stored');
    for (const id of ids) expect(nameOf(await segments.unmount(id))).toBe(undefined);
    expect(nameOf(await objects.get('k'))).toBe('OBJECT_NOT_FOUND');
    expect(nameOf(await objects.put('k', bytesOf(1, 10), { config }))).toBe('stored');
    expect(segments.list).toEqual([]);
  });

  it('are not lent while no master takes them', async () => {
    const { segments } = borrower.store;
    await cluster.stopMaster();
    const size = { byteCount: 2 ** 20, shared: false };
    expect(nameOf(await segments.mount(size))).toBe('RPC_FAIL');
    expect(segments.list).toEqual([]);
    await cluster.reviveMaster();
    await eventually(() => cluster.master.core.segments().length === 2, 'those that were lent');
    await eventually(async () => 'ok' in (await segments.mount(size)), 'the new master to take it');
    await eventually(() => borrower.store.state === 'serving', 'the segment to be served');
    expect(cluster.master.core.segments().length).toBe(3);
  });
});
