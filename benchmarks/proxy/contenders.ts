/** Every proxy that is measured: where it comes from and how it is started. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { freePorts, type Processes, type Started } from '../../e2e/processes.ts';
import { demoCommand } from './demo.ts';
import type { Driver } from './driver.ts';
import { installPackages } from './packages.ts';

/** Routers are what ours is held against; `base` is another checkout of ours. */
export const routerNames = ['vllm-router', 'sglang-router', 'smg'] as const;
export type ContenderName = 'tsukimi' | 'base' | (typeof routerNames)[number] | 'demo';

/** As published on PyPI. */
const versions = { 'vllm-router': '0.1.17', 'sglang-router': '0.3.2', smg: '1.13.0' };

export class Contender {
  readonly name: ContenderName;
  readonly address: string;
  /** From the start of the process until it answered a completion, in milliseconds. */
  readonly startMs: number;
  readonly #process: Started;

  private constructor(name: ContenderName, address: string, startMs: number, process: Started) {
    this.name = name;
    this.address = address;
    this.startMs = startMs;
    this.#process = process;
  }

  /** Pinned to one core, in front of the driver's instances, round robin. */
  static async start(
    name: ContenderName,
    processes: Processes,
    driver: Driver,
    core: number,
  ): Promise<Contender> {
    const port = await freePorts(2);
    const command = await commandOf(name, driver, port);
    const startMs = performance.now();
    const started = processes.startCommand(name, ['taskset', '-c', String(core), ...command]);
    const address = `127.0.0.1:${port}`;
    for (;;) {
      const response = await fetch(`http://${address}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'bench', prompt: 'Once', max_tokens: 1 }),
      }).catch(() => null);
      const answer = (await response?.text()) ?? '';
      const elapsedMs = performance.now() - startMs;
      if (response?.ok === true && answer.includes('"choices"')) {
        return new Contender(name, address, Math.round(elapsedMs), started);
      }
      if (elapsedMs > 30_000 || started.child.exitCode !== null) {
        throw new Error(`${name} does not answer (${answer}): ${started.log()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** User and system time since its start. */
  get cpuSeconds(): number {
    const fields = this.#proc('stat')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** Resident memory now, and at most since its start. */
  get memory(): { readonly nowMb: number; readonly mostMb: number } {
    const status = this.#proc('status');
    const megabytes = (name: string) =>
      Math.round((Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) * 1_024) / 1e6);
    return { nowMb: megabytes('VmRSS'), mostMb: megabytes('VmHWM') };
  }

  #proc(file: string): string {
    return readFileSync(`/proc/${this.#process.child.pid}/${file}`, 'utf8');
  }
}

async function commandOf(name: ContenderName, driver: Driver, port: number): Promise<string[]> {
  const { prefill, decode } = driver;
  const urls = [
    ...prefill.flatMap((address) => ['--prefill', `http://${address}`]),
    ...decode.flatMap((address) => ['--decode', `http://${address}`]),
  ];
  const router = [
    ...urls,
    ...['--policy', 'round_robin', '--host', '127.0.0.1', '--port', String(port)],
    ...['--prometheus-port', String(port + 1), '--log-level', 'error'],
  ];
  const script = (package_: keyof typeof versions) =>
    join(
      installPackages(`${package_}-${versions[package_]}`, [`${package_}==${versions[package_]}`]),
      'bin',
      package_,
    );
  switch (name) {
    case 'vllm-router':
      return [script(name), '--vllm-pd-disaggregation', ...router];
    case 'sglang-router':
      return [script(name), 'launch', '--pd-disaggregation', ...router];
    case 'smg':
      return [script(name), 'launch', '--pd-disaggregation', '--backend', 'vllm', ...router];
    case 'demo':
      return [
        ...(await demoCommand()),
        ...['--model', 'bench', '--port', String(port)],
        ...['--prefill', ...prefill, '--decode', ...decode],
      ];
    case 'tsukimi':
    case 'base': {
      const checkout =
        name === 'base'
          ? (process.env['TSUKIMI_BENCH_BASE'] as string)
          : fileURLToPath(new URL('../..', import.meta.url));
      const program = join(checkout, 'packages/cli/bin/tsukimi.js');
      if (!existsSync(join(checkout, 'packages/cli/dist'))) {
        throw new Error(`${checkout} is not built: npm run build`);
      }
      return [
        ...[process.execPath, program, 'proxy', '--model', 'bench', '--host', '127.0.0.1'],
        ...['--port', String(port), '--scheduling', 'round_robin'],
        ...['--prefill', prefill.join(','), '--decode', decode.join(',')],
      ];
    }
  }
}
