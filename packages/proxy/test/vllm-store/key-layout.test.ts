import { describe, expect, it } from 'vitest';
import { BlockHasher } from '../../src/vllm-store/block-hash.ts';
import { awaitedHashes, hashersFor, KeyLayoutSearch } from '../../src/vllm-store/key-layout.ts';

const plain = { lora: null, cacheSalt: null };
const tokenIds = Array.from({ length: 100 }, (_, at) => 1_000 + at);
const prefixes = [0, 1].map((rank) => `m@tp_rank:${rank}@pcp0@dcp0@pp_rank:0@group:0@`);

function stored(hasher: BlockHasher, blockSize: number): string[] {
  const hashes = hasher.hashes(tokenIds, blockSize, 3, plain);
  return hashes.flatMap((hash) => prefixes.map((prefix) => prefix + hash));
}

describe('KeyLayoutSearch', () => {
  it.each([
    ['sha256', 'vllm-none-hash', 16],
    ['sha256', '0', 32],
    ['sha256_cbor', '42', 32],
  ] as const)(
    'finds out that blocks are named by %s, seed %s, size %i',
    (algorithm, seed, size) => {
      const keys = stored(new BlockHasher(algorithm, seed), size);
      const search = new KeyLayoutSearch(hashersFor('42'), tokenIds, plain);
      const others = ['m@group:0@abc', `other@${'0'.repeat(64)}`];
      const matched = [...others, ...keys].filter((key) => new RegExp(search.pattern).test(key));
      expect(matched).toEqual(keys.slice(0, prefixes.length));
      expect(search.layoutIn(matched)).toMatchObject({
        hasher: { algorithm, seed },
        blockSize: size,
        prefixes,
      });
    },
  );

  it('finds nothing in keys of an unknown seed', () => {
    const keys = stored(new BlockHasher('sha256', '43'), 32);
    expect(new KeyLayoutSearch(hashersFor('42'), tokenIds, plain).layoutIn(keys)).toBeNull();
  });

  it('has a pattern that masters accept, and none for a prompt without a full block', () => {
    const long = Array.from({ length: 3_000 }, (_, at) => at);
    expect(new KeyLayoutSearch(hashersFor('7'), long, plain).pattern.length).toBeLessThan(1_024);
    expect(new KeyLayoutSearch(hashersFor(null), [1, 2, 3], plain).isHopeless).toBe(true);
    expect(new KeyLayoutSearch(hashersFor(null), tokenIds.slice(0, 16), plain).isHopeless).toBe(
      true,
    );
  });
});

describe('awaitedHashes', () => {
  const layout = { hasher: new BlockHasher('sha256', '0'), blockSize: 32, prefixes };
  const all = layout.hasher.hashes(tokenIds, 32, 3, plain);

  it('names the full blocks before the last token', () => {
    expect(awaitedHashes(layout, tokenIds, plain)).toEqual(all);
    expect(awaitedHashes(layout, tokenIds.slice(0, 97), plain)).toEqual(all);
    expect(awaitedHashes(layout, tokenIds.slice(0, 96), plain)).toEqual(all.slice(0, 2));
    expect(awaitedHashes(layout, tokenIds.slice(0, 32), plain)).toEqual([]);
  });
});
