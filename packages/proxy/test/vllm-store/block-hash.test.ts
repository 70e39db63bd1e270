import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  BlockHasher,
  type HashAlgorithm,
  type HashExtras,
} from '../../src/vllm-store/block-hash.ts';

/** Recorded from vLLM 0.32.0: `init_none_hash` and `hash_block_tokens`. */
const recorded = JSON.parse(
  readFileSync(new URL('block-hashes.json', import.meta.url), 'utf8'),
) as readonly ({
  readonly name: string;
  readonly algorithm: HashAlgorithm;
  readonly seed: string;
  readonly tokenIds: readonly number[];
  readonly blockSize: number;
  readonly hashes: readonly string[];
} & HashExtras)[];

describe('BlockHasher', () => {
  it.each(recorded)('gives what vLLM gives: $algorithm, seed $seed, $name', (vector) => {
    const { algorithm, seed, tokenIds, blockSize, hashes } = vector;
    const hasher = new BlockHasher(algorithm, seed);
    expect(hasher.hashes(tokenIds, blockSize, hashes.length, vector)).toEqual(hashes);
  });
});
