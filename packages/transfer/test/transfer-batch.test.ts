import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { MemoryMetadataStore } from '@tsukimi/metadata/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { allocateMemory, TransferEngine } from '../src/index.ts';
import { pattern } from '../src/testing.ts';

const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const metadata = new MemoryMetadataStore();

async function start(name: string): Promise<TransferEngine> {
  const engine = new TransferEngine({
    ...{ name, metadata, host: '127.0.0.1', sharedMemory: false },
    ...{ clock: new SystemClock(), random: new SeededRandom(1), logger: silentLogger },
    transferBaseMs: 30_000,
  });
  await engine.start();
  cleanups.push(() => engine.stop(AbortSignal.abort()));
  return engine;
}

async function pair() {
  const owner = await start('owner:1');
  const memory = allocateMemory({ byteCount: 8 * 2 ** 20, shared: false, label: 'test segment' });
  owner.register(memory);
  await owner.published(new AbortController().signal);
  return { owner, memory, user: await start('user:1') };
}

describe('a batch of transfers', () => {
  it('moves everything, and tells of each how it went', async () => {
    const { memory, user, owner } = await pair();
    const blocks = Array.from({ length: 100 }, (_, index) => pattern(65_536, index));
    const addressOf = (index: number) => memory.baseAddress + BigInt(index * 65_536);
    const writes = blocks.map((bytes, index) => ({
      ...({ kind: 'write', endpoint: 'owner:1', address: addressOf(index), bytes } as const),
    }));
    const writing = user.submit(writes);
    expect(writing.pendingCount).toBe(100);
    expect((await writing.wait()).every(({ state }) => state === 'done')).toBe(true);
    const into = blocks.map(() => Buffer.alloc(65_536));
    const reads = into.map((bytes, index) => ({
      ...({ kind: 'read', endpoint: 'owner:1', address: addressOf(index), bytes } as const),
    }));
    // Each refusal costs the connection that it came over, and with it nobody else's request.
    const beyond = {
      ...({ kind: 'read', endpoint: 'owner:1', address: memory.baseAddress - 1n } as const),
      bytes: Buffer.alloc(8),
    };
    const nobody = { ...beyond, endpoint: 'nobody:1' };
    const own = { ...beyond, endpoint: 'user:1' };
    const batch = user.submit([beyond, ...reads, nobody, own]);
    const statuses = await batch.wait();
    expect(statuses.slice(1, 101).every(({ state }) => state === 'done')).toBe(true);
    expect([statuses[0], statuses[101], statuses[102]]).toMatchObject([
      { state: 'failed', reason: { code: 'REFUSED' } },
      { state: 'failed', reason: { code: 'PEER_UNREACHABLE' } },
      { state: 'failed', reason: { code: 'REFUSED' } },
    ]);
    expect([batch.pendingCount, batch.failedCount]).toEqual([0, 3]);
    expect(into.every((bytes, index) => bytes.equals(blocks[index] as Buffer))).toBe(true);
    user.checkInvariants();
    owner.checkInvariants();
  });

  it('can be cancelled, by itself and by the signal of its caller', async () => {
    const { memory, user } = await pair();
    const request = {
      ...({ kind: 'read', endpoint: 'owner:1', address: memory.baseAddress } as const),
      bytes: Buffer.alloc(4 * 2 ** 20),
    };
    const caller = new AbortController();
    const reason = new Error('no longer wanted');
    const cancelled = user.submit([request, request]);
    cancelled.cancel(reason);
    const left = user.submit([request, request], { signal: caller.signal });
    caller.abort(reason);
    for (const batch of [cancelled, left]) {
      const failed = { state: 'failed', reason };
      expect(await batch.wait()).toEqual([failed, failed]);
    }
    const waiting = user.submit([request]);
    await expect(waiting.wait(AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    expect((await waiting.wait())[0]?.state).toBe('done');
    expect(() => user.submit(Array.from({ length: 16_385 }, () => request))).toThrow('16384');
    expect(await user.submit([]).wait()).toEqual([]);
  });
});
