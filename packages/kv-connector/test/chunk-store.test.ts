import { afterEach, describe, expect, it } from 'vitest';
import { type ChunkStore, PrivateChunks, StoreChunks } from '../src/index.ts';
import { startStorePair } from './store-pair.ts';
import { never } from './synthetic-state.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const entryOf = (key: string, byte: number, byteCount = 1_000) => ({
  key,
  byteCount,
  fill: (into: Buffer) => void into.fill(byte),
});

/** The promises of `ChunkStore`, kept by every store. */
function describeChunkStore(name: string, make: () => Promise<ChunkStore>): void {
  describe(name, () => {
    it('stores what is absent and never fills what is present', async () => {
      const chunks = await make();
      const outcomes = await chunks.putIfAbsent([entryOf('a', 1), entryOf('b', 2)], never);
      expect(outcomes).toEqual(['stored', 'stored']);
      const again = { ...entryOf('a', 9), fill: () => expect.fail('it is there already') };
      expect(await chunks.putIfAbsent([again, entryOf('c', 3)], never)).toEqual([
        'present',
        'stored',
      ]);
    });

    it('finds in the order asked and reads copies', async () => {
      const chunks = await make();
      await chunks.putIfAbsent([entryOf('a', 1), entryOf('b', 2, 5)], never);
      const [b, missing, a] = await chunks.find(['b', 'x', 'a'], never);
      expect([b?.byteCount, missing, a?.byteCount]).toEqual([5, null, 1_000]);
      const into = Buffer.alloc(5);
      expect(await b?.read(into, never)).toBe('read');
      expect(into).toEqual(Buffer.alloc(5, 2));
      expect(await chunks.find([], never)).toEqual([]);
    });

    it('discards what was just looked up, so that it can be put again', async () => {
      const chunks = await make();
      await chunks.putIfAbsent([entryOf('a', 1)], never);
      await chunks.find(['a'], never);
      await chunks.discard('a', never);
      await chunks.discard('never there', never);
      expect(await chunks.find(['a'], never)).toEqual([null]);
      expect(await chunks.putIfAbsent([entryOf('a', 2)], never)).toEqual(['stored']);
    });

    it('does nothing for a caller who has gone', async () => {
      const chunks = await make();
      const gone = AbortSignal.abort(new Error('gone'));
      const entry = { ...entryOf('a', 1), fill: () => expect.fail('nobody wants it') };
      expect(await chunks.putIfAbsent([entry], gone)).toEqual(['failed']);
      expect(await chunks.find(['a'], never)).toEqual([null]);
    });

    it('says when a chunk is larger than all there is', async () => {
      const chunks = await make();
      const outcomes = await chunks.putIfAbsent([entryOf('a', 1, 2 ** 24 + 1)], never);
      expect(outcomes).toEqual(['no-space']);
    });
  });
}

describeChunkStore('PrivateChunks', async () => {
  const chunks = new PrivateChunks({ byteCountMax: 2 ** 24 });
  cleanups.push(async () => chunks.checkInvariants());
  return chunks;
});

describeChunkStore('StoreChunks', async () => {
  const pair = await startStorePair(2 ** 24);
  cleanups.push(() => pair.stop());
  return new StoreChunks(pair.borrower);
});

describe('PrivateChunks', () => {
  it('drops the least recently used chain, its end first', async () => {
    const chunks = new PrivateChunks({ byteCountMax: 4 * 4_096 });
    await chunks.putIfAbsent([entryOf('old/0', 1), entryOf('old/1', 1)], never);
    await chunks.putIfAbsent([entryOf('new/0', 1), entryOf('new/1', 1)], never);
    await chunks.find(['old/0', 'old/1']);
    await chunks.putIfAbsent([entryOf('x', 1)], never);
    const found = await chunks.find(['old/0', 'old/1', 'new/0', 'new/1']);
    expect(found.map((chunk) => chunk !== null)).toEqual([true, true, true, false]);
    chunks.checkInvariants();
  });

  it('keeps the beginning of a chain that does not fit as a whole', async () => {
    const chunks = new PrivateChunks({ byteCountMax: 2 * 4_096 });
    const outcomes = await chunks.putIfAbsent(
      ['0', '1', '2'].map((key) => entryOf(key, 1)),
      never,
    );
    expect(outcomes).toEqual(['stored', 'stored', 'no-space']);
  });
});
