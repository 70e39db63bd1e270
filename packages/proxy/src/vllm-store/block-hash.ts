import { hash } from 'node:crypto';
import { writeCbor } from './cbor.ts';
import { HashInput } from './hash-input.ts';
import { writePickle } from './pickle.ts';

/** `--prefix-caching-hash-algo` of vLLM; its xxhash variants are for one process alone. */
export type HashAlgorithm = 'sha256' | 'sha256_cbor';

/** What Python hashes here: bytes, text, an integer, None, or a tuple of such. */
export type Hashed = Uint8Array | string | number | null | readonly Hashed[];

/** What vLLM puts into the hashes besides the tokens. */
export interface HashExtras {
  /** Of the request that names an adapter; in the hash of every block. */
  readonly lora: { readonly name: string; readonly path: string } | null;
  /** `cache_salt` of the request; in the hash of the first block. */
  readonly cacheSalt: string | null;
}

/** The seed of the root hash where PYTHONHASHSEED is not set. */
export const defaultHashSeed = 'vllm-none-hash';

/**
 * The hashes by which vLLM knows blocks of tokens, in hex: of (hash of the block before, tokens, extras),
 * pickled or in CBOR; before the first block comes the hash of a seed. As `hash_block_tokens` and
 * `init_none_hash` of vLLM's `v1/core/kv_cache_utils.py` have it.
 */
export class BlockHasher {
  readonly algorithm: HashAlgorithm;
  readonly seed: string;
  readonly #root: Buffer;
  readonly #input = new HashInput();

  constructor(algorithm: HashAlgorithm, seed: string) {
    this.algorithm = algorithm;
    this.seed = seed;
    this.#root = this.#hash(seed);
  }

  /** Of the first `blockCount` blocks; the caller sees to it that there are so many. */
  hashes(
    tokenIds: readonly number[],
    blockSize: number,
    blockCount: number,
    { lora, cacheSalt }: HashExtras,
  ): string[] {
    const every: Hashed[] = lora === null ? [] : [['lora', lora.name, lora.path]];
    const first = cacheSalt === null ? every : [...every, ['cache_salt', cacheSalt]];
    const hashes: string[] = [];
    let parent = this.#root;
    for (let block = 0; block < blockCount; block += 1) {
      const tokens = tokenIds.slice(block * blockSize, (block + 1) * blockSize);
      const extras = block === 0 ? first : every;
      parent = this.#hash([parent, tokens, extras.length === 0 ? null : extras]);
      hashes.push(parent.toString('hex'));
    }
    return hashes;
  }

  #hash(value: Hashed): Buffer {
    const input = this.#input;
    input.clear();
    if (this.algorithm === 'sha256') writePickle(value, input);
    else writeCbor(value, input);
    return hash('sha256', input.bytes, 'buffer');
  }
}
