import { assert } from '@tsukimi/base';

/** What all requests of one client keep. */
interface Account {
  readonly client: string;
  holdingCount: number;
  byteCount: number;
}

/** What one request keeps in memory. */
export class Holding {
  readonly #memory: HeldMemory;
  readonly #account: Account;
  #byteCount = 0;
  #isOpen = true;

  constructor(memory: HeldMemory, account: Account) {
    this.#memory = memory;
    this.#account = account;
  }

  /** Before so many bytes more are kept; false: they may not be. */
  take(byteCount: number): boolean {
    if (!this.#isOpen || !this.#memory.take(this.#account, byteCount)) return false;
    this.#byteCount += byteCount;
    return true;
  }

  /** Nothing of it is kept any more, and nothing may be. Harmless when repeated. */
  release(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#memory.close(this.#account, this.#byteCount);
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
  readonly #accounts = new Map<string, Account>();
  #byteCount = 0;

  constructor(byteCountMax: number) {
    this.#byteCountMax = byteCountMax;
  }

  get byteCount(): number {
    return this.#byteCount;
  }

  /** For a request of `client`, to be released when it is over. */
  open(client: string): Holding {
    let account = this.#accounts.get(client);
    if (account === undefined) {
      account = { client, holdingCount: 0, byteCount: 0 };
      this.#accounts.set(client, account);
    }
    account.holdingCount += 1;
    return new Holding(this, account);
  }

  take(account: Account, byteCount: number): boolean {
    const own = account.byteCount + byteCount;
    const left = this.#byteCountMax - this.#byteCount - byteCount;
    if (own > left) return false;
    account.byteCount = own;
    this.#byteCount += byteCount;
    return true;
  }

  close(account: Account, byteCount: number): void {
    account.byteCount -= byteCount;
    account.holdingCount -= 1;
    this.#byteCount -= byteCount;
    assert(account.byteCount >= 0 && this.#byteCount >= 0, 'no more is given back than was taken');
    if (account.holdingCount === 0) this.#accounts.delete(account.client);
  }
}
