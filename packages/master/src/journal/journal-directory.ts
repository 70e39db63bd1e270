import { existsSync, mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '@tsukimi/base';

const fileName = /^(journal|snapshot)-(\d{10})\.(log|snap|tmp)$/;

/**
 * The files of a journal: `journal-<generation>.log` holds changes, `snapshot-<generation>.snap` the
 * state when the log of that generation began, changed or not by what that log says. So the state is
 * the newest snapshot and all logs from its generation on.
 */
export class JournalDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Throws `MISCONFIGURED` where there can be no such directory. */
  create(): void {
    try {
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
    } catch (error) {
      const reason = `--journal-dir ${this.path} cannot be used: ${(error as Error).message}`;
      throw new Fault('MISCONFIGURED', reason, { cause: error });
    }
  }

  logPath(generation: number): string {
    return join(this.path, `journal-${padded(generation)}.log`);
  }

  snapshotPath(generation: number): string {
    return join(this.path, `snapshot-${padded(generation)}.snap`);
  }

  /** Where a snapshot stands until it is whole. */
  unfinishedSnapshotPath(generation: number): string {
    return join(this.path, `snapshot-${padded(generation)}.tmp`);
  }

  hasLog(generation: number): boolean {
    return existsSync(this.logPath(generation));
  }

  /** Generations, in order. */
  logs(): number[] {
    return this.#generations('log');
  }

  snapshots(): number[] {
    return this.#generations('snap');
  }

  /** Removes what a snapshot of `generation` has made superfluous, and unfinished snapshots. */
  removeBefore(generation: number): void {
    for (const { path, number, suffix } of this.#files()) {
      if (number < generation || suffix === 'tmp') unlinkSync(path);
    }
  }

  /** Removes all of it, snapshots first: logs without a beginning count for nothing. */
  removeAll(): void {
    const files = this.#files();
    for (const { path, suffix } of files) if (suffix !== 'log') unlinkSync(path);
    for (const { path, suffix } of files) if (suffix === 'log') unlinkSync(path);
  }

  #generations(wanted: string): number[] {
    return this.#files()
      .filter(({ suffix }) => suffix === wanted)
      .map(({ number }) => number)
      .sort((one, other) => one - other);
  }

  #files(): { readonly path: string; readonly number: number; readonly suffix: string }[] {
    return readdirSync(this.path).flatMap((name) => {
      const [, , number, suffix] = fileName.exec(name) ?? [];
      if (number === undefined || suffix === undefined) return [];
      return { path: join(this.path, name), number: Number(number), suffix };
    });
  }
}

function padded(generation: number): string {
  return String(generation).padStart(10, '0');
}
