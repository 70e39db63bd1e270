import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { type Processes, type Started, untilReady } from '../../e2e/processes.ts';
import { killAll, processTree } from './process-tree.ts';

/** Tokens of a block of KV; the smallest that vLLM has for CPUs. */
export const blockSize = 32;

export interface InstanceStart {
  readonly python: string;
  readonly model: string;
  readonly label: string;
  readonly port: number;
  /** As `--kv-transfer-config` takes it; null: it shares nothing. */
  readonly transfer: object | null;
  readonly env?: Readonly<Record<string, string>>;
}

/** Generous: three of them start at once, on however few cores. */
const readyWithinMs = 600_000;
const stopWithinMs = 20_000;

/** A vLLM server on CPUs, with the engine's processes that belong to it. */
export class VllmInstance implements AsyncDisposable {
  readonly address: string;
  readonly url: string;
  readonly #started: Started;

  private constructor(started: Started, port: number) {
    this.address = `127.0.0.1:${port}`;
    this.url = `http://${this.address}`;
    this.#started = started;
  }

  static launch(processes: Processes, start: InstanceStart): VllmInstance {
    const { python, model, label, port, transfer, env = {} } = start;
    const command = [
      ...[python, '-m', 'vllm.entrypoints.openai.api_server', '--model', model],
      ...['--host', '127.0.0.1', '--port', String(port), '--enforce-eager'],
      ...['--block-size', String(blockSize), '--max-model-len', '2048'],
      ...['--kv-cache-memory-bytes', String(128 * 2 ** 20)],
      ...(transfer === null ? [] : ['--kv-transfer-config', JSON.stringify(transfer)]),
    ];
    const started = processes.startCommand(label, command, {
      env: {
        HF_HUB_OFFLINE: '1',
        VLLM_HOST_IP: '127.0.0.1',
        VLLM_CPU_OMP_THREADS_BIND: 'nobind',
        OMP_NUM_THREADS: '1',
        VLLM_NO_USAGE_STATS: '1',
        ...env,
      },
    });
    return new VllmInstance(started, port);
  }

  async ready(): Promise<this> {
    const died = this.#started.exited.then(([code]) => {
      throw new Error(`${this.#started.name} ended with ${code}\n${this.#tail()}`);
    });
    try {
      await Promise.race([untilReady(`${this.url}/health`, undefined, readyWithinMs), died]);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.#tail()}`, { cause: error });
    }
    this.#spread();
    return this;
  }

  /** Tokens of prompts that it got from elsewhere instead of computing them, so far. */
  async externalTokenCount(): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const line = /^vllm:prompt_tokens_by_source_total\{.*source="external_kv_transfer".*\} (\S+)$/m;
    return Number(line.exec(text)?.[1] ?? 0);
  }

  /** As `kill -9` of all that belongs to it. */
  kill(): void {
    killAll(processTree(this.#started.child.pid ?? 0));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid } = this.#started.child;
    if (pid === undefined) return;
    const tree = processTree(pid);
    this.#started.child.kill('SIGTERM');
    const late = setTimeout(() => this.#started.child.kill('SIGKILL'), stopWithinMs);
    await this.#started.exited;
    clearTimeout(late);
    killAll(tree);
  }

  /** NIXL binds every worker to the last core, where two of them would share one. */
  #spread(): void {
    const { pid } = this.#started.child;
    for (const one of processTree(pid ?? 0)) {
      execFileSync('taskset', ['-acp', `0-${cpus().length - 1}`, String(one)], { stdio: 'ignore' });
    }
  }

  #tail(): string {
    return this.#started.log().split('\n').slice(-40).join('\n');
  }
}
