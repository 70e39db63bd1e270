import { SystemClock, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { joinChunks } from '@tsukimi/llama';
import type { PutOutcome } from '@tsukimi/store';
import { describe, expect, it } from 'vitest';
import { type ChunkStore, KvConnector, type KvRole, PrivateChunks } from '../src/index.ts';
import { never, syntheticLayout, syntheticState, tokensOf } from './synthetic-state.ts';

const layout = syntheticLayout();
const model = { weightsDigest: 'w', rope: 'r', libraryVersion: 'v' };

function connectorOver(chunks: ChunkStore, role: KvRole = 'both', clock = new SystemClock()) {
  return new KvConnector({
    chunks,
    role,
    model,
    tensorParallelSize: 1,
    tensorParallelRank: 0,
    clock,
    logger: silentLogger,
  });
}

function loadAll(connector: KvConnector, tokens: Int32Array, salt = '') {
  return connector.load({ tokens, salt, layout, signal: never });
}

function saveAll(
  connector: KvConnector,
  tokens: Int32Array,
  kind: 'prompt' | 'generated' = 'prompt',
) {
  const state = syntheticState(layout, tokens);
  return connector.save({ tokens, salt: '', state, layout, kind, signal: never });
}

describe('KvConnector', () => {
  it('gives back the exact state that was saved', async () => {
    const chunks = new PrivateChunks({ byteCountMax: 2 ** 26 });
    const tokens = tokensOf(700);
    await saveAll(connectorOver(chunks, 'producer'), tokens);
    const consumer = connectorOver(chunks, 'consumer');
    const prefix = await loadAll(consumer, tokens);
    expect(prefix.cells).toBe(700);
    expect(prefix.chunks.map(({ cells }) => cells)).toEqual([256, 256, 188]);
    const joined = joinChunks(layout, { streams: 1, sequence: 0, chunks: prefix.chunks });
    expect(joined.equals(syntheticState(layout, tokens))).toBe(true);
    prefix.release();
    consumer.checkInvariants();
    expect(consumer.counters).toMatchObject({ lookupCount: 1, hitTokenCount: 700 });
  });

  it('gives a second turn the generated text of the first', async () => {
    const connector = connectorOver(new PrivateChunks({ byteCountMax: 2 ** 26 }));
    const second = tokensOf(900);
    await saveAll(connector, second.slice(0, 300), 'generated');
    const prefix = await loadAll(connector, second);
    expect(prefix.cells).toBe(288);
    prefix.release();
  });

  it('stores by role', async () => {
    const chunks = new PrivateChunks({ byteCountMax: 2 ** 26 });
    const wanted = (['producer', 'consumer', 'both'] as const).map((role) => {
      const connector = connectorOver(chunks, role);
      return [connector.wants('prompt'), connector.wants('generated')];
    });
    expect(wanted).toEqual([
      [true, false],
      [false, false],
      [true, true],
    ]);
    await saveAll(connectorOver(chunks, 'consumer'), tokensOf(300));
    await saveAll(connectorOver(chunks, 'producer'), tokensOf(300), 'generated');
    expect(chunks.chunkCount).toBe(0);
  });

  it('never shares KV of another model, another salt or another tensor-parallel size', async () => {
    const chunks = new PrivateChunks({ byteCountMax: 2 ** 26 });
    const tokens = tokensOf(300);
    await saveAll(connectorOver(chunks), tokens);
    expect((await loadAll(connectorOver(chunks), tokens, 'salt')).cells).toBe(0);
    for (const changed of [
      { model: { ...model, weightsDigest: 'x' } },
      { tensorParallelSize: 2 },
    ]) {
      const other = new KvConnector({
        chunks,
        role: 'both',
        model,
        tensorParallelSize: 1,
        tensorParallelRank: 0,
        clock: new SystemClock(),
        logger: silentLogger,
        ...changed,
      });
      expect((await loadAll(other, tokens)).cells).toBe(0);
    }
  });

  it('uses the chunks before a corrupt one, removes it, and stores it anew', async () => {
    const chunks = new PrivateChunks({ byteCountMax: 2 ** 26 });
    const damaged = damagedAt(chunks, '/256/');
    const connector = connectorOver(damaged);
    const tokens = tokensOf(700);
    await saveAll(connector, tokens);
    const prefix = await loadAll(connector, tokens);
    expect(prefix.cells).toBe(256);
    prefix.release();
    expect(connector.counters).toMatchObject({ corruptChunkCount: 1, flaws: { checksum: 1 } });
    damaged.heal();
    await saveAll(connector, tokens);
    const again = await loadAll(connector, tokens);
    expect(again.cells).toBe(700);
    expect(connector.counters).toMatchObject({ storedChunkCount: 4, presentChunkCount: 2 });
    again.release();
    connector.checkInvariants();
  });

  it('takes over a key whose other writer gives up, within the bound', async () => {
    const chunks = new PrivateChunks({ byteCountMax: 2 ** 26 });
    const clock = new FakeClock();
    let busyCount = 3;
    const busy: ChunkStore = {
      find: (keys) => chunks.find(keys),
      discard: (key) => chunks.discard(key),
      async putIfAbsent(entries, signal): Promise<PutOutcome[]> {
        if (busyCount-- > 0) return entries.map(() => 'in-progress');
        return chunks.putIfAbsent(entries, signal);
      },
    };
    const saved = saveAll(connectorOver(busy, 'both', clock), tokensOf(300));
    await advanceUntil(clock, saved, 10);
    expect(chunks.chunkCount).toBe(2);
  });

  it('waits no longer than the bound for another writer', async () => {
    const clock = new FakeClock();
    const startMs = clock.monotonicMs();
    const stuck: ChunkStore = {
      find: async (keys) => keys.map(() => null),
      discard: async () => {},
      putIfAbsent: async (entries) => entries.map(() => 'in-progress' as const),
    };
    const connector = connectorOver(stuck, 'producer', clock);
    await advanceUntil(clock, saveAll(connector, tokensOf(300)), 50);
    expect(clock.monotonicMs() - startMs).toBeLessThanOrEqual(2_100);
    expect(connector.counters.failures['save-deadline']).toBe(2);
    expect(clock.waitingCount).toBe(0);
  });

  it('computes everything when a store answers nothing in time', async () => {
    const clock = new FakeClock();
    const silent: ChunkStore = {
      find: (keys, signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve(keys.map(() => null)));
        }),
      discard: async () => {},
      putIfAbsent: async (entries) => entries.map(() => 'failed' as const),
    };
    const connector = connectorOver(silent, 'both', clock);
    const loading = loadAll(connector, tokensOf(300));
    await advanceUntil(clock, loading, 10);
    expect((await loading).cells).toBe(0);
    expect(connector.counters.failures.lookup).toBe(1);
  });
});

/** Lets time pass in steps, and everything that hangs on it, until `work` is settled. */
async function advanceUntil(clock: FakeClock, work: Promise<unknown>, stepMs: number) {
  let settled = false;
  void work.finally(() => {
    settled = true;
  });
  for (let step = 0; step < 1_000 && !settled; step++) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!settled) clock.advance(stepMs);
  }
  await work;
}

/** Flips one payload bit of every chunk whose key holds `part`, as it is read, until healed. */
function damagedAt(chunks: PrivateChunks, part: string): ChunkStore & { heal(): void } {
  let ill = true;
  return {
    async find(keys) {
      const found = await chunks.find(keys);
      return found.map((chunk, index) => {
        if (chunk === null || !ill || !keys[index]?.includes(part)) return chunk;
        return {
          byteCount: chunk.byteCount,
          async read(into, signal) {
            const outcome = await chunk.read(into, signal);
            into.writeUInt8(into.readUInt8(1_000) ^ 4, 1_000);
            return outcome;
          },
        };
      });
    },
    putIfAbsent: (entries, signal) => chunks.putIfAbsent(entries, signal),
    discard: (key) => chunks.discard(key),
    heal() {
      ill = false;
    },
  };
}
