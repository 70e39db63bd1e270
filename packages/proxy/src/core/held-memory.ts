import { assert } from '@tsukimi/base';

/** What one request keeps in memory. */
export class Holding {
  readonly #memory: HeldMemory;
  readonly #client: string;
  #byteCount = 0;

  constructor(memory: HeldMemory, client: string) {
    this.#memory = memory;
    this.#client = client;
  }

  get byteCount(): number {
    return this.#byteCount;
  }

  /** Before so many bytes more are kept; false: they may not be. */
  take(byteCount: number): boolean {
    if (!this.#memory.take(this.#client, byteCount)) return false;
    this.#byteCount += byteCount;
    return true;
  }

  /** Nothing of it is kept any more. Harmless when repeated. */
  release(): void {
    this.#memory.give(this.#client, this.#byteCount);
    this.#byteCount = 0;
  }
}

/**
 * The memory for what requests in progress keep, their bodies and whole answers. A client may have as much
 * as is left for others then: alone half of it all, and less the more ask for much. So whatever clients
 * ask for, something is left for the next one.
 */
export class HeldMemory {
  readonly #byteCountMax: number;
  readonly #byClient = new Map<string, number>();
  #byteCount = 0;

  constructor(byteCountMax: number) {
    this.#byteCountMax = byteCountMax;
  }

  get byteCount(): number {
    return this.#byteCount;
  }

  /** For a request of `client`, to be released when it is over. */
  open(client: string): Holding {
    return new Holding(this, client);
  }

  take(client: string, byteCount: number): boolean {
    const own = (this.#byClient.get(client) ?? 0) + byteCount;
    const left = this.#byteCountMax - this.#byteCount - byteCount;
    if (own > left) return false;
    this.#byClient.set(client, own);
    this.#byteCount += byteCount;
    return true;
  }

  give(client: string, byteCount: number): void {
    if (byteCount === 0) return;
    const own = (this.#byClient.get(client) ?? 0) - byteCount;
    if (own === 0) this.#byClient.delete(client);
    else this.#byClient.set(client, own);
    this.#byteCount -= byteCount;
    assert(own >= 0 && this.#byteCount >= 0, 'no more is given back than was taken');
  }
}
