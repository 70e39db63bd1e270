import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '@tsukimi/base';
import { lockFile } from '@tsukimi/transfer';

/** Keeps other masters from a journal until it is let go, or this process ends in whatever way. */
export class JournalLock {
  readonly #descriptor: number;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Throws `MISCONFIGURED` when another master holds it. */
  static take(directory: string): JournalLock {
    const descriptor = openSync(join(directory, 'lock'), 'a', 0o600);
    if (lockFile(descriptor)) return new JournalLock(descriptor);
    closeSync(descriptor);
    throw new Fault(
      'MISCONFIGURED',
      `--journal-dir ${directory}: another master uses it; stop that one or choose another directory`,
    );
  }

  release(): void {
    closeSync(this.#descriptor);
  }
}
