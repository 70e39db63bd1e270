import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkKeys } from '../src/core/chunk-keys.ts';
import {
  chooseChain,
  chooseTail,
  planLookup,
  planSave,
  planTails,
} from '../src/core/lookup-plan.ts';

const chunkLength = 256;

function tokensOf(count: number, seed = 1): Int32Array {
  return Int32Array.from({ length: count }, (_, index) => (index * 31 + seed) % 50_000);
}

function keysOf(tokens: Int32Array, salt = ''): ChunkKeys {
  return new ChunkKeys({ fingerprint: 'f0', tensorParallelRank: 0, chunkLength }, tokens, salt);
}

/** Cells that a reader of `wanted` gets from a store that holds `stored`. */
function cellsHit(stored: ReadonlySet<string>, wanted: Int32Array, salt = ''): number {
  const keys = keysOf(wanted, salt);
  const plan = planLookup(keys, wanted.length, chunkLength);
  const has = (span: { key: string }) => (stored.has(span.key) ? span : null);
  const { chain, tailsOf } = chooseChain(plan, {
    whole: plan.whole.map(has),
    tails: plan.tails.map(has),
  });
  const tails = tailsOf === null ? [] : planTails(keys, wanted.length, chunkLength, tailsOf);
  const tail = chooseTail(tails, tails.map(has));
  return [...chain, ...(tail === null ? [] : [tail])].reduce(
    (sum, { span }) => sum + span.cells,
    0,
  );
}

function stored(tokens: Int32Array, kind: 'prompt' | 'generated', salt = ''): Set<string> {
  const spans = planSave(keysOf(tokens, salt), tokens.length, chunkLength, kind);
  return new Set(spans.map((span) => span.key));
}

describe('the chunk look-up', () => {
  it('gives a prompt that shares 700 tokens the two whole chunks among them', () => {
    const first = tokensOf(1_000);
    const second = tokensOf(1_000, 2);
    second.set(first.subarray(0, 700));
    expect(cellsHit(stored(first, 'prompt'), second)).toBe(512);
  });

  it.each([1, 20, 255, 256, 257, 512, 1_000, 1_500])(
    'gives the same prompt of %i tokens all of it',
    (count) => {
      const tokens = tokensOf(count);
      expect(cellsHit(stored(tokens, 'prompt'), tokens)).toBe(count);
    },
  );

  it.each([
    [100, 400, 96],
    [250, 255, 240],
    [700, 1_500, 688],
    [512, 600, 512],
  ])(
    'gives the next turn of a chat what %i tokens of the last one left, whatever follows',
    (last, now, cells) => {
      const next = tokensOf(now);
      expect(cellsHit(stored(next.slice(0, last), 'generated'), next)).toBe(cells);
    },
  );

  it('finds nothing behind a gap', () => {
    const tokens = tokensOf(1_000);
    const held = stored(tokens, 'prompt');
    held.delete(keysOf(tokens).whole(1).key);
    expect(cellsHit(held, tokens)).toBe(256);
    held.delete(keysOf(tokens).whole(0).key);
    expect(cellsHit(held, tokens)).toBe(0);
  });

  it('never shares between salts', () => {
    const tokens = tokensOf(600);
    expect(cellsHit(stored(tokens, 'prompt', 'a'), tokens, 'b')).toBe(0);
    expect(cellsHit(stored(tokens, 'prompt', 'a'), tokens, 'a')).toBe(600);
  });

  it('never gives a token that differs', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 900 }),
        fc.integer({ min: 1, max: 900 }),
        fc.nat({ max: 900 }),
        fc.constantFrom('prompt' as const, 'generated' as const),
        (writerCount, readerCount, sharedCount, kind) => {
          const writer = tokensOf(writerCount);
          const reader = tokensOf(readerCount, 2);
          reader.set(writer.subarray(0, Math.min(sharedCount, readerCount)));
          const shared = Math.min(sharedCount, writerCount, readerCount);
          expect(cellsHit(stored(writer, kind), reader)).toBeLessThanOrEqual(shared);
        },
      ),
    );
  });
});

describe('ChunkKeys', () => {
  it('names fingerprint, rank, position and a hash of everything before', () => {
    const { key } = keysOf(tokensOf(600)).whole(1);
    expect(key).toMatch(/^tsukimi\/f0\/0\/256\/[0-9a-f]{64}$/);
    const changed = tokensOf(600);
    changed[0] = 9;
    expect(keysOf(changed).whole(1).key).not.toBe(key);
  });
});
