import { describe, expect, it } from 'vitest';
import { StoredPrefixes, sampled } from '../../src/vllm-store/stored-prefixes.ts';

const numbers = (from: number, count: number) =>
  Array.from({ length: count }, (_, at) => from + at);

describe('StoredPrefixes', () => {
  it('knows beginnings of texts by blocks of tokens that do not go beyond them', () => {
    const prefixes = new StoredPrefixes();
    // 7 blocks of text and the rest are 4 blocks of tokens.
    prefixes.learn(numbers(1, 7), ['a', 'b', 'c', 'd']);
    expect(prefixes.of(numbers(1, 7), 10)).toEqual([
      { blockCount: 3, hash: 'a' },
      { blockCount: 5, hash: 'b' },
      { blockCount: 7, hash: 'c' },
    ]);
    expect(prefixes.of([...numbers(1, 4), 99], 10)).toEqual([
      { blockCount: 3, hash: 'a' },
      { blockCount: 4, hash: 'b' },
    ]);
    expect(prefixes.of(numbers(1, 7), 2)).toEqual([
      { blockCount: 3, hash: 'a' },
      { blockCount: 7, hash: 'c' },
    ]);
    expect(prefixes.of([99], 10)).toEqual([]);
  });

  it('learns nothing from too little, and forgets what is old', () => {
    const prefixes = new StoredPrefixes();
    prefixes.learn([], ['a']);
    prefixes.learn([1], []);
    expect(prefixes.of([1], 10)).toEqual([]);
    prefixes.learn([1, 2], ['a', 'b', 'c']);
    for (let from = 100; from < 70_000; from += 100) {
      prefixes.learn(numbers(from, 100), numbers(0, 101).map(String));
    }
    expect(prefixes.of([1, 2], 10)).toEqual([]);
    expect(prefixes.of([69_900], 10)).toHaveLength(1);
  });
});

it('samples a list evenly from its end', () => {
  expect(sampled(['a', 'b', 'c'], 2)).toEqual(['a', 'c']);
  expect(sampled(['a', 'b', 'c'], 1)).toEqual(['c']);
  expect(sampled(['a', 'b', 'c'], 5)).toEqual(['a', 'b', 'c']);
  expect(sampled([], 5)).toEqual([]);
});
