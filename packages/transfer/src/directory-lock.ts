import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '@tsukimi/base';
import { lockFile } from './system-calls.ts';

/** Keeps other processes out of a directory until it is let go, or this process ends in whatever way. */
export class DirectoryLock {
  readonly #descriptor: number;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Null while somebody else holds it. Throws Node's errors. */
  static tryTake(directory: string): DirectoryLock | null {
    const descriptor = openSync(join(directory, 'lock'), 'a', 0o600);
    if (lockFile(descriptor)) return new DirectoryLock(descriptor);
    closeSync(descriptor);
    return null;
  }

  /**
   * Makes the directory where it is missing. Throws `MISCONFIGURED`, naming `option`, while another process holds
   * the directory, or when it cannot be used.
   */
  static take(directory: string, option: string): DirectoryLock {
    let lock: DirectoryLock | null;
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      lock = DirectoryLock.tryTake(directory);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      const reason = `${option}: ${directory} cannot be used (${code})`;
      throw new Fault('MISCONFIGURED', reason, { cause: error });
    }
    if (lock !== null) return lock;
    throw new Fault(
      'MISCONFIGURED',
      `${option}: ${directory} is in use by another process; stop that one or choose another directory`,
    );
  }

  release(): void {
    closeSync(this.#descriptor);
  }
}
