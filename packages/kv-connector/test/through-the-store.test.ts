import { SystemClock, silentLogger } from '@tsukimi/base';
import { joinChunks } from '@tsukimi/llama';
import type { StoreClient } from '@tsukimi/store';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KvConnector, type KvRole, StoreChunks } from '../src/index.ts';
import { type StorePair, startStorePair } from './store-pair.ts';
import { never, syntheticLayout, syntheticState, tokensOf } from './synthetic-state.ts';

const layout = syntheticLayout();

function connectorOf(store: StoreClient, role: KvRole): KvConnector {
  return new KvConnector({
    chunks: new StoreChunks(store),
    role,
    model: { weightsDigest: 'w', rope: 'r', libraryVersion: 'v' },
    tensorParallelSize: 1,
    tensorParallelRank: 0,
    clock: new SystemClock(),
    logger: silentLogger,
    deadlines: { lookupMs: 5_000 },
  });
}

describe('prefill and decode through the store', () => {
  let pair: StorePair;
  let producer: KvConnector;
  let consumer: KvConnector;
  beforeEach(async () => {
    pair = await startStorePair(2 ** 24);
    producer = connectorOf(pair.lender, 'producer');
    consumer = connectorOf(pair.borrower, 'consumer');
  });
  afterEach(() => pair.stop());

  const save = (tokens: Int32Array) =>
    producer.save({
      tokens,
      salt: '',
      state: syntheticState(layout, tokens),
      layout,
      kind: 'prompt',
      signal: never,
    });
  const load = (connector: KvConnector, tokens: Int32Array) =>
    connector.load({ tokens, salt: '', layout, signal: never });

  it('hands over the exact state of a prompt, all of it', async () => {
    const tokens = tokensOf(1_000);
    await save(tokens);
    const prefix = await load(consumer, tokens);
    expect(prefix.cells).toBe(1_000);
    const joined = joinChunks(layout, { streams: 1, sequence: 0, chunks: prefix.chunks });
    expect(joined.equals(syntheticState(layout, tokens))).toBe(true);
    prefix.release();
    // The rest has a key, too, which only this very prompt has.
    const found = await pair.borrower.find(producer.keysOf({ tokens, salt: '', layout }), {
      signal: never,
    });
    expect(found.map((one) => one !== null)).toEqual([true, true, true]);
    expect(pair.core.objectCount).toBe(4);
    expect(pair.core.unfinishedPutCount).toBe(0);
  });

  it('recomputes a chunk whose bytes changed in the segment, and stores it again', async () => {
    const tokens = tokensOf(700);
    await save(tokens);
    const [second] = [...pair.core.keys()].filter((key) => key.includes('/256/'));
    const [object] = await pair.lender.find([second as string]);
    const memory = pair.lender.segmentMemory;
    const at = Number((object?.replicas[0]?.address ?? 0n) - (memory?.baseAddress ?? 0n)) + 500;
    memory?.view.writeUInt8(memory.view.readUInt8(at) ^ 16, at);

    const prefix = await load(consumer, tokens);
    expect(prefix.cells).toBe(256);
    prefix.release();
    expect(consumer.counters).toMatchObject({ corruptChunkCount: 1, flaws: { checksum: 1 } });
    expect(pair.core.objectCount).toBe(2);

    await save(tokens);
    expect(producer.counters).toMatchObject({ storedChunkCount: 4, presentChunkCount: 2 });
    const healed = await load(consumer, tokens);
    expect(healed.cells).toBe(700);
    healed.release();
    consumer.checkInvariants();
  });

  it('computes everything while no store answers', async () => {
    const tokens = tokensOf(300);
    await save(tokens);
    await pair.borrower.stop(AbortSignal.abort());
    expect((await load(consumer, tokens)).cells).toBe(0);
  });
});
