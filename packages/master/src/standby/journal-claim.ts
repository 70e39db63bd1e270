import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DirectoryLock } from '@tsukimi/transfer';

const fileName = 'claim';

/**
 * Which master may write a journal that several share: the one whose election the file `claim` names.
 * It changes under the journal's lock only, which is held for moments.
 */
export class JournalClaim {
  readonly #directory: string;
  #version: number;

  private constructor(directory: string, version: number) {
    this.#directory = directory;
    this.#version = version;
  }

  /** Takes the journal from whoever had it; null while somebody holds the lock. */
  static take(directory: string, version: number): JournalClaim | null {
    const lock = DirectoryLock.tryTake(directory);
    if (lock === null) return null;
    const claim = new JournalClaim(directory, version);
    try {
      claim.#write();
    } finally {
      lock.release();
    }
    return claim;
  }

  static exists(directory: string): boolean {
    return existsSync(join(directory, fileName));
  }

  /** Runs `act` while nobody else can claim the journal. `busy`: somebody has the lock just now. */
  whileOurs(act: () => void): 'done' | 'busy' | 'lost' {
    const lock = DirectoryLock.tryTake(this.#directory);
    if (lock === null) return 'busy';
    try {
      if (!this.#isOurs()) return 'lost';
      act();
      return 'done';
    } finally {
      lock.release();
    }
  }

  /** Ours by another election now. */
  move(version: number): 'done' | 'busy' | 'lost' {
    return this.whileOurs(() => {
      this.#version = version;
      this.#write();
    });
  }

  #isOurs(): boolean {
    return readFileSync(join(this.#directory, fileName), 'utf8') === String(this.#version);
  }

  #write(): void {
    const path = join(this.#directory, fileName);
    writeFileSync(`${path}.new`, String(this.#version));
    renameSync(`${path}.new`, path);
  }
}
