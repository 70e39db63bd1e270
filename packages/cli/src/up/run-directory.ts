import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { Fault } from '@tsukimi/base';

const lastWordsByteCountMax = 4_096;

/** The folder of one cluster: a log for each process, and the `mooncake.json` all instances read. */
export class RunDirectory {
  readonly path: string;

  /** Made when absent, for this user alone; logs of an earlier run with the same port are replaced. */
  constructor(wanted: string | undefined, port: number) {
    const { uid, username } = userInfo();
    this.path = wanted ?? join(tmpdir(), `tsukimi-${username}`, `up-${port}`);
    try {
      mkdirSync(this.path, { recursive: true, mode: 0o700 });
      if (wanted === undefined && uid >= 0 && statSync(this.path).uid !== uid) {
        throw new Error('it belongs to another user');
      }
      writeFileSync(join(this.path, '.writable'), '');
      rmSync(join(this.path, '.writable'));
    } catch (error) {
      throw new Fault(
        'MISCONFIGURED',
        `cannot write to ${this.path} (${(error as Error).message}); name another folder with --run-directory`,
        { cause: error },
      );
    }
  }

  get mooncakeConfigPath(): string {
    return join(this.path, 'mooncake.json');
  }

  writeMooncakeConfig(content: object): void {
    writeFileSync(this.mooncakeConfigPath, `${JSON.stringify(content, null, 2)}\n`);
  }

  logPath(child: string): string {
    return join(this.path, `${child}.log`);
  }

  clearLog(child: string): void {
    rmSync(this.logPath(child), { force: true });
  }

  /** The last line of a child's log: where it says why it gave up. */
  lastWords(child: string): string {
    let file: number;
    try {
      file = openSync(this.logPath(child), 'r');
    } catch {
      return `${child} wrote no log`;
    }
    const size = fstatSync(file).size;
    const tail = Buffer.alloc(Math.min(size, lastWordsByteCountMax));
    readSync(file, tail, 0, tail.length, size - tail.length);
    closeSync(file);
    const lines = tail.toString('utf8').trimEnd().split('\n');
    return lines.at(-1) ?? '';
  }
}
