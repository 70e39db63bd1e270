/** The instances and clients of `load/`, which are Go so that one core carries them. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Processes, Started } from '../../e2e/processes.ts';

/** See `command` in `load/main.go`. */
export type Load =
  | { readonly kind: 'closed'; readonly clients: number; readonly promptBytes: number }
  | { readonly kind: 'open'; readonly ratePerS: number }
  | {
      readonly kind: 'stream';
      readonly clients: number;
      readonly tokens: number;
      readonly gapMs: number;
    };

export interface Loaded {
  readonly requests: number;
  readonly tokens: number;
  readonly failures: number;
  readonly failure: string;
  readonly seconds: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly open: number;
}

const usual = { promptBytes: 512, tokens: 4, clients: 0, gapMs: 0, ratePerS: 0 };

export class Driver {
  /** Addresses, as host:port. */
  readonly prefill: readonly string[];
  readonly decode: readonly string[];
  readonly #program: Started;
  readonly #lines: AsyncIterator<string>;

  private constructor(program: Started, lines: AsyncIterator<string>, ports: readonly number[]) {
    this.#program = program;
    this.#lines = lines;
    const addresses = ports.map((port) => `127.0.0.1:${port}`);
    this.prefill = addresses.slice(0, 2);
    this.decode = addresses.slice(2);
  }

  /** Throws where there is no Go. */
  static async start(processes: Processes, core: number): Promise<Driver> {
    const source = fileURLToPath(new URL('load', import.meta.url));
    const program = join(processes.directory, 'load');
    try {
      execFileSync('go', ['build', '-o', program, '.'], { cwd: source, stdio: 'pipe' });
    } catch (error) {
      const output = (error as { stderr?: Buffer }).stderr?.toString() ?? '';
      throw new Error(`the load driver needs Go 1.21 or newer to be built (go.dev/dl): ${output}`, {
        cause: error,
      });
    }
    const started = processes.startCommand('load', ['taskset', '-c', String(core), program], {
      pipes: true,
      env: { GOMAXPROCS: '1' },
    });
    const input = started.child.stdout as NodeJS.ReadableStream;
    const lines = createInterface({ input })[Symbol.asyncIterator]();
    const ports = JSON.parse(await nextLine(lines, started)) as number[];
    return new Driver(started, lines, ports);
  }

  /** `targets` is a proxy, or one prefill and one decode instance that the clients call in turn. */
  async run(targets: readonly string[], load: Load, ms: number): Promise<Loaded> {
    const { promptBytes, tokens, clients, gapMs, ratePerS } = { ...usual, ...load };
    return await this.#ask({
      kind: load.kind,
      targets,
      clients,
      ms: Math.round(ms),
      rate: ratePerS,
      prompt_bytes: promptBytes,
      tokens,
      gap_ms: gapMs,
    });
  }

  /** Connections that have asked once for `/health` and stay; tells how many are open after `ms`. */
  async hold(target: string, count: number, ms: number): Promise<number> {
    const { open } = await this.#ask({ kind: 'hold', targets: [target], clients: count, ms });
    return open;
  }

  async release(): Promise<void> {
    await this.#ask({ kind: 'release' });
  }

  async #ask(command: object): Promise<Loaded> {
    this.#program.child.stdin?.write(`${JSON.stringify(command)}\n`);
    return JSON.parse(await nextLine(this.#lines, this.#program)) as Loaded;
  }
}

async function nextLine(lines: AsyncIterator<string>, program: Started): Promise<string> {
  const next = await lines.next();
  if (next.done === true) {
    await once(program.child, 'exit');
    throw new Error(`the load driver ended: ${program.log()}`);
  }
  return next.value;
}
