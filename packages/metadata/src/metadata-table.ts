import { assert } from '@tsukimi/base';

export interface MetadataLimits {
  readonly keyBytesMax: number;
  readonly keyCountMax: number;
  /** Keys and values together. */
  readonly totalBytesMax: number;
}

export type PutOutcome = 'updated' | 'unchanged' | 'duplicate' | 'full';

/** What a metadata server remembers: bytes by key, within limits, and the rule for rpc_meta keys. */
export class MetadataTable {
  readonly #limits: MetadataLimits;
  readonly #values = new Map<string, Buffer>();
  #totalBytes = 0;

  constructor(limits: MetadataLimits) {
    this.#limits = limits;
  }

  get keyCount(): number {
    return this.#values.size;
  }

  entries(): IterableIterator<[string, Buffer]> {
    return this.#values.entries();
  }

  get(key: string): Buffer | null {
    return this.#values.get(key) ?? null;
  }

  /**
   * Two engines of one name must not both believe they own it, so an rpc_meta key keeps its first
   * value (`duplicate`), unless `deadValue` is that very value: its engine was found to be gone.
   */
  put(key: string, value: Buffer, deadValue: Buffer | null = null): PutOutcome {
    const old = this.#values.get(key) ?? null;
    if (old !== null && key.includes('rpc_meta')) {
      if (old.equals(value)) return 'unchanged';
      if (deadValue === null || !old.equals(deadValue)) return 'duplicate';
    }
    return this.restore(key, value);
  }

  /** Without the rule for rpc_meta: for what was accepted before. */
  restore(key: string, value: Buffer): 'updated' | 'full' {
    const old = this.#values.get(key) ?? null;
    const growth = old === null ? Buffer.byteLength(key) + value.length : value.length - old.length;
    if (old === null && this.#values.size >= this.#limits.keyCountMax) return 'full';
    if (growth > 0 && this.#totalBytes + growth > this.#limits.totalBytesMax) return 'full';
    this.#values.set(key, value);
    this.#totalBytes += growth;
    return 'updated';
  }

  remove(key: string): boolean {
    const old = this.#values.get(key);
    if (old === undefined) return false;
    this.#values.delete(key);
    this.#totalBytes -= Buffer.byteLength(key) + old.length;
    return true;
  }

  checkInvariants(): void {
    let totalBytes = 0;
    for (const [key, value] of this.#values) totalBytes += Buffer.byteLength(key) + value.length;
    assert(totalBytes === this.#totalBytes, 'the byte count is that of the keys and values');
    assert(totalBytes <= this.#limits.totalBytesMax, 'the byte limit holds');
    assert(this.#values.size <= this.#limits.keyCountMax, 'the key limit holds');
  }
}
