import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '@tsukimi/base/testing';

const programPath = fileURLToPath(new URL('../packages/cli/bin/tsukimi.js', import.meta.url));

/** `full` when an acceptance run asks for it; `smoke`, smaller in every number, otherwise. */
export const form = process.env['TSUKIMI_FORM'] === 'full' ? 'full' : 'smoke';
export const sized = <T>(sizes: { smoke: T; full: T }): T => sizes[form];

export interface Started {
  readonly name: string;
  readonly child: ChildProcess;
  readonly logPath: string;
  log(): string;
  /** Resolves with `[code, signal]`. */
  readonly exited: Promise<readonly [number | null, NodeJS.Signals | null]>;
}

/** Real processes of one test; `dispose` ends every one of them. */
export class Processes implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'tsukimi-e2e-'));
  readonly #running = new Set<Started>();
  #count = 0;

  /** Starts `tsukimi ARGS…`, or another command through `prefix` (`['ip', 'netns', 'exec', 'a']`). */
  start(
    args: readonly string[],
    options: {
      env?: Record<string, string>;
      prefix?: readonly string[];
      uid?: number;
      cwd?: string;
    } = {},
  ): Started {
    const command = [...(options.prefix ?? []), process.execPath, programPath, ...args];
    return this.startCommand(args[0] as string, command, options);
  }

  /** Starts any command; `label` names its log. With `pipes`, its standard input and output are ours. */
  startCommand(
    label: string,
    command: readonly string[],
    options: { env?: Record<string, string>; uid?: number; cwd?: string; pipes?: boolean } = {},
  ): Started {
    const name = `${this.#count++}-${label}`;
    const logPath = join(this.directory, `${name}.log`);
    const log = openSync(logPath, 'a');
    const [file, ...args] = command;
    const child = spawn(file as string, args, {
      stdio: options.pipes === true ? ['pipe', 'pipe', log] : ['ignore', log, log],
      env: { ...process.env, ...options.env },
      cwd: options.cwd ?? this.directory,
      ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
    });
    closeSync(log);
    const started: Started = {
      name,
      child,
      logPath,
      log: () => readFileSync(logPath, 'utf8'),
      exited: new Promise((resolve) => {
        child.once('exit', (code, signal) => {
          this.#running.delete(started);
          resolve([code, signal]);
        });
      }),
    };
    this.#running.add(started);
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const running = [...this.#running];
    for (const { child } of running) child.kill('SIGTERM');
    const late = setTimeout(() => {
      for (const { child } of this.#running) child.kill('SIGKILL');
    }, 8_000);
    await Promise.all(running.map(({ exited }) => exited));
    clearTimeout(late);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Waits until `url` answers 200; shows the log of `started` when it does not. */
export async function untilReady(url: string, started?: Started, limitMs = 30_000): Promise<void> {
  try {
    await eventually(async () => (await fetch(url)).ok, `${url} to answer`, limitMs);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${started?.log() ?? ''}`, { cause: error });
  }
}

/** `count` consecutive ports that are free now. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await Promise.all(
      Array.from({ length: count }, (_, index) => isFree(first + index)),
    );
    if (free.every(Boolean)) return first;
  }
  throw new Error(`no ${count} consecutive free ports`);
}

export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host: '127.0.0.1', port }, () => probe.close(() => resolve(true)));
  });
}
