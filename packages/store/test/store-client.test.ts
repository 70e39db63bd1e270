import { SeededRandom } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { RpcClient } from '@tsukimi/rpc';
import { makeUuid, masterProtocol, type ReplicateConfig } from '@tsukimi/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PutEntry } from '../src/index.ts';
import { type Member, TestCluster } from './cluster.ts';

const segmentByteCount = 16 * 2 ** 20;

function bytesOf(seed: number, byteCount: number): Buffer {
  const period = Uint8Array.from({ length: 251 }, (_, at) => (at * 31 + seed) & 0xff);
  return Buffer.alloc(byteCount, period);
}

function entryOf(key: string, value: Buffer): PutEntry {
  return { key, byteCount: value.length, fill: (into) => void value.copy(into) };
}

let cluster: TestCluster;
beforeEach(async () => {
  // A write that a dead client began is given up after a second instead of 30.
  cluster = await TestCluster.start(['--put-start-discard-timeout-sec=1']);
});
afterEach(async () => {
  cluster.master.core.checkInvariants();
  await cluster.stop();
});

/** One that lends memory and one that does not, as a prefill and a decode instance. */
async function pair(shared: boolean): Promise<{ lender: Member; borrower: Member }> {
  const lender = await cluster.serving({ name: '127.0.0.1:1', segmentByteCount, shared });
  const borrower = await cluster.serving({ name: '127.0.0.1:2', segmentByteCount: null, shared });
  return { lender, borrower };
}

describe('StoreClient without a metadata server', () => {
  it('names its segment by its host and sends peers to its handshake port', async () => {
    const common = { segmentByteCount, shared: false, handshake: true };
    const lender = await cluster.serving({ ...common, name: '127.0.0.1:1' });
    const borrower = await cluster.serving({ ...common, name: 'b:2', segmentByteCount: null });
    expect(await borrower.store.put('key', bytesOf(1, 100_003))).toBe('stored');
    const [found] = await lender.store.find(['key']);
    expect(found?.replicas[0]?.endpoint).toBe(lender.engine.name);
    expect(lender.engine.name).not.toBe('127.0.0.1:1');
    expect((await borrower.store.get('key', 200_000))?.equals(bytesOf(1, 100_003))).toBe(true);
  });
});

describe.each([
  ['shared memory', true],
  ['TCP', false],
])('StoreClient over %s', (_, shared) => {
  it('gives every member what any of them has put', async () => {
    const { lender, borrower } = await pair(shared);
    const values = [bytesOf(1, 1), bytesOf(2, 100_003), bytesOf(3, 3 * 2 ** 20)];
    for (const [writer, reader] of [
      [lender, borrower],
      [borrower, lender],
    ] as const) {
      const keys = values.map((_value, index) => `${writer.engine.name}/${index}`);
      const entries = keys.map((key, index) => entryOf(key, values[index] as Buffer));
      expect(await writer.store.putIfAbsent(entries)).toEqual(['stored', 'stored', 'stored']);
      for (const member of [writer, reader]) {
        const got = await member.store.getInto(
          keys.map((key) => ({ key, into: (byteCount) => Buffer.alloc(byteCount) })),
        );
        expect(got.map((value, index) => value?.equals(values[index] as Buffer))).toEqual([
          true,
          true,
          true,
        ]);
      }
      writer.store.checkInvariants();
      reader.store.checkInvariants();
    }
    expect(cluster.master.core.unfinishedPutCount).toBe(0);
  });

  it('hands out copies, which nobody changes afterwards', async () => {
    const { lender, borrower } = await pair(shared);
    await lender.store.put('key', bytesOf(1, 1_000));
    const copy = await borrower.store.get('key', 2_000);
    lender.store.segmentMemory?.view.fill(0);
    expect(copy?.equals(bytesOf(1, 1_000))).toBe(true);
  });

  it('moves more than its staging memory holds', async () => {
    await cluster.serving({ name: '127.0.0.1:1', segmentByteCount, shared });
    const writer = await cluster.serving({
      name: '127.0.0.1:2',
      segmentByteCount: null,
      shared,
      stagingByteCountMax: 2 ** 20,
    });
    const entries = Array.from({ length: 12 }, (_value, index) =>
      entryOf(`key/${index}`, bytesOf(index, 700_000)),
    );
    expect(await writer.store.putIfAbsent(entries)).toEqual(entries.map(() => 'stored'));
    const got = await writer.store.get('key/11', 2 ** 20);
    expect(got?.equals(bytesOf(11, 700_000))).toBe(true);
    writer.store.checkInvariants();
  });
});

describe('StoreClient', () => {
  it('fills nothing that is there, and tells present from in progress', async () => {
    const { lender, borrower } = await pair(true);
    await lender.store.put('there', bytesOf(1, 10));
    let filled = 0;
    const counting = (key: string): PutEntry => ({
      key,
      byteCount: 10,
      fill: () => {
        filled += 1;
      },
    });
    let inner: Promise<unknown> = Promise.resolve();
    const outer = await lender.store.putIfAbsent([
      {
        key: 'slow',
        byteCount: 10,
        fill() {
          inner = Promise.all([
            borrower.store.putIfAbsent([counting('there'), counting('slow'), counting('new')]),
            lender.store.putIfAbsent([counting('slow')]),
          ]);
        },
      },
    ]);
    expect(outer).toEqual(['stored']);
    // The outer put may end before the inner one is told apart: then its key is present already.
    const [others, own] = (await inner) as string[][];
    expect(others?.[0]).toBe('present');
    expect(others?.[1]).toMatch(/in-progress|present/);
    expect(others?.[2]).toBe('stored');
    expect(own).toEqual(['in-progress']);
    expect(filled).toBe(1);
  });

  it('leaves nothing half-written when a fill breaks or the caller gives up', async () => {
    const { lender } = await pair(true);
    const broken = { key: 'broken', byteCount: 10, fill: () => expect.fail('no source') };
    expect(await lender.store.putIfAbsent([broken, entryOf('fine', bytesOf(1, 10))])).toEqual([
      'failed',
      'stored',
    ]);
    const caller = new AbortController();
    const stopping = {
      key: 'stopping',
      byteCount: 10,
      fill: () => caller.abort(new Error('gone')),
    };
    const outcomes = await lender.store.putIfAbsent([stopping], { signal: caller.signal });
    expect(outcomes).toEqual(['failed']);
    expect(cluster.master.core.unfinishedPutCount).toBe(0);
    expect(cluster.master.core.objectCount).toBe(1);
    expect(await lender.store.put('stopping', bytesOf(2, 10))).toBe('stored');
  });

  it('says when there is no space', async () => {
    const { lender } = await pair(true);
    expect(await lender.store.put('large', Buffer.alloc(segmentByteCount + 1))).toBe('no-space');
  });

  it('does not trust bytes that came after the lease', async () => {
    const { lender } = await pair(true);
    await lender.store.put('key', bytesOf(1, 10));
    const [found] = await lender.store.find(['key']);
    if (!found) return expect.fail('the object was just put');
    const expired = { ...found, leaseUntilMs: cluster.clock.monotonicMs() };
    expect(await lender.store.read(expired, Buffer.alloc(10))).toBe('lease-expired');
    expect(await lender.store.read(found, Buffer.alloc(10))).toBe('read');
  });

  it('removes, by force what is leased', async () => {
    const { lender } = await pair(true);
    await lender.store.put('a', bytesOf(1, 10));
    await lender.store.put('b', bytesOf(1, 10));
    expect(await lender.store.exist(['a', 'b', 'c'])).toEqual([true, true, false]);
    expect(await lender.store.remove('a')).toBe('in-use');
    expect(await lender.store.removeBatch(['a', 'c'], { force: true })).toEqual([
      'removed',
      'missing',
    ]);
    expect(await lender.store.removeAll({ force: true })).toBe(1);
    expect(await lender.store.exist(['b'])).toEqual([false]);
  });

  it('answers at once while the master is away, and mounts again when it is back', async () => {
    const { lender, borrower } = await pair(true);
    await lender.store.put('before', bytesOf(1, 10));
    await cluster.stopMaster();
    await eventually(
      async () => (await lender.store.put('during', bytesOf(1, 10))) === 'failed',
      'the loss to be noticed',
    );
    expect(lender.store.reachable).toBe(false);
    expect(await lender.store.find(['before'])).toEqual([null]);
    expect(await lender.store.exist(['before'])).toEqual([null]);
    await cluster.reviveMaster();
    for (const { store } of [lender, borrower]) {
      await eventually(() => store.state === 'serving', 'the new master to be joined');
    }
    expect(cluster.master.core.segments().length).toBe(1);
    expect(await borrower.store.put('after', bytesOf(2, 10))).toBe('stored');
    expect(await lender.store.get('after', 10)).toEqual(bytesOf(2, 10));
  });

  it('starts without a master and joins it later', async () => {
    await cluster.stopMaster();
    const { store } = await cluster.join({ name: '127.0.0.1:1', segmentByteCount, shared: true });
    expect(store.reachable).toBe(false);
    expect(await store.put('key', bytesOf(1, 10))).toBe('failed');
    await cluster.reviveMaster();
    await eventually(() => store.state === 'serving', 'the master to be found');
    expect(await store.put('key', bytesOf(1, 10))).toBe('stored');
  });

  it('takes its segment back when it stops, with what is in it', async () => {
    const { lender, borrower } = await pair(true);
    await lender.store.put('key', bytesOf(1, 10));
    await lender.stop();
    expect(cluster.master.core.segments().length).toBe(0);
    expect(await borrower.store.find(['key'])).toEqual([null]);
    expect(await lender.store.put('late', bytesOf(1, 10))).toBe('failed');
  });

  it('reads from a member that came back under its name with other memory', async () => {
    const { lender, borrower } = await pair(false);
    await lender.store.put('old', bytesOf(1, 10));
    expect(await borrower.store.get('old', 10)).toEqual(bytesOf(1, 10));
    await lender.stop();
    const again = await cluster.serving({
      name: '127.0.0.1:1',
      segmentByteCount,
      shared: false,
    });
    await again.store.put('new', bytesOf(2, 10));
    expect(await borrower.store.get('new', 10)).toEqual(bytesOf(2, 10));
  });

  it('tells the master with its next call from whom it could not read', async () => {
    const { lender, borrower } = await pair(false);
    await lender.store.put('key', bytesOf(1, 10));
    const told: (readonly string[])[] = [];
    cluster.master.core.reportEndpoints = (_, endpoints) => void told.push(endpoints);
    const [found] = (await borrower.store.find(['key'])) ?? [];
    await lender.engine.stop(AbortSignal.abort());
    expect(await borrower.store.get('key', 10)).toBeNull();
    await borrower.store.find(['key']);
    await borrower.store.find(['key']);
    expect(told).toEqual([[found?.replicas[0]?.endpoint]]);
  });

  it('takes over what a writer that died had begun', async () => {
    const { lender } = await pair(true);
    const dying = new RpcClient({
      address: { host: '127.0.0.1', port: cluster.master.port },
      protocol: masterProtocol,
      clock: cluster.clock,
    });
    const clientId = makeUuid(new SeededRandom(99));
    await dying.call('BatchPutStart', [clientId, ['orphan'], [10], plainConfig, 'default']);
    const first = await lender.store.put('orphan', bytesOf(1, 10));
    expect(first).toBe('in-progress');
    dying.close();
    await eventually(
      async () => (await lender.store.put('orphan', bytesOf(1, 10))) === 'stored',
      'the half-written object to be given up',
    );
    expect(await lender.store.get('orphan', 10)).toEqual(bytesOf(1, 10));
    expect(cluster.master.core.unfinishedPutCount).toBe(0);
  });
});

const plainConfig: ReplicateConfig = {
  replicaNum: 1,
  nofReplicaNum: 0,
  dfsReplicaNum: 0,
  softPinAction: 0,
  softPinTtlMs: null,
  withHardPin: false,
  preferredSegments: [],
  preferredSegment: '',
  preferredNofSegments: [],
  preferAllocInSameNode: false,
  dataType: 0,
  hostId: '',
  groupIds: null,
};
