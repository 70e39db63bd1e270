import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '@tsukimi/base/testing';
import { type ScriptedInstanceOptions, scriptedText } from '@tsukimi/proxy/testing';
import { type Answer, ask } from './client.ts';
import { freePorts, Processes, type Started, untilReady } from './processes.ts';

type Kind = 'prefill' | 'decode';

/** As `scripted-instance.ts` takes it. */
export interface InstanceScript extends Omit<ScriptedInstanceOptions, 'fate' | 'port'> {
  readonly fate?: object;
}

export interface FaultBenchOptions {
  readonly prefill: readonly InstanceScript[];
  readonly decode: readonly InstanceScript[];
  readonly argv?: readonly string[];
  /** `heapBytes` will be asked. */
  readonly tellsHeap?: boolean;
}

interface Scripted {
  readonly port: number;
  started: Started;
}

export interface Load {
  /** Happens once a quarter of all is under way. */
  readonly fault?: () => void | Promise<void>;
  readonly streams?: 'half' | 'never';
}

export interface Outcome {
  readonly requests: number;
  /** What each failed request saw, with its place in line. */
  readonly failures: readonly string[];
  readonly longestMs: number;
}

const program = fileURLToPath(new URL('scripted-instance.ts', import.meta.url));
const heapTeller = new URL('heap-teller.mjs', import.meta.url).href;
const model = 'tsukimi-demo';
const tokenCount = 12;

/** A real proxy before scripted instances, each a process, and clients that check every token. */
export class FaultBench implements AsyncDisposable {
  readonly processes = new Processes();
  readonly prefill: Scripted[] = [];
  readonly decode: Scripted[] = [];
  url = '';
  proxyPid = 0;
  #askedCount = 0;

  static async start(options: FaultBenchOptions): Promise<FaultBench> {
    const bench = new FaultBench();
    try {
      await bench.#start(options);
      return bench;
    } catch (error) {
      await bench[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A process that was stopped hears nothing else.
    for (const { started } of [...this.prefill, ...this.decode]) started.child.kill('SIGCONT');
    await this.processes[Symbol.asyncDispose]();
  }

  kill(kind: Kind, index = 0): void {
    this[kind][index]?.started.child.kill('SIGKILL');
  }

  /** It accepts, as its sockets live in the kernel, and never answers. */
  stop(kind: Kind, index = 0): void {
    this[kind][index]?.started.child.kill('SIGSTOP');
  }

  /** One more instance, of which the proxy knows nothing yet. */
  async guest(script: InstanceScript): Promise<{ address: string; started: Started }> {
    const port = await freePorts(1);
    const started = this.#instance(script, port);
    await untilReady(`http://127.0.0.1:${port}/health`, started);
    return { address: `127.0.0.1:${port}`, started };
  }

  /** How many requests met its fate; from now on it serves. */
  async metCount(kind: Kind, index = 0): Promise<number> {
    const { child } = (this[kind][index] as Scripted).started;
    const told = new Promise<Buffer>((resolve) => child.stdout?.once('data', resolve));
    child.stdin?.write('{"kind":"serve"}\n');
    return Number((await told).toString());
  }

  /** Tries that failed, by the proxy's own count. */
  async retryCount(): Promise<number> {
    const metrics = await (await fetch(`${this.url}/metrics`)).text();
    const counts = metrics.matchAll(/^tsukimi_proxy_retries_total\{.*\} (\d+)$/gm);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** On the same port, perhaps as another engine. */
  async restart(kind: Kind, script: InstanceScript, index = 0): Promise<void> {
    const scripted = this[kind][index] as Scripted;
    scripted.started.child.kill('SIGKILL');
    await scripted.started.exited;
    scripted.started = this.#instance(script, scripted.port);
  }

  /**
   * `clientCount` clients ask `eachCount` times, for a completion or a chat, and every second time for a
   * stream.
   */
  async load(
    clientCount: number,
    eachCount: number,
    { fault = () => {}, streams = 'half' }: Load = {},
  ): Promise<Outcome> {
    const failures: string[] = [];
    let longestMs = 0;
    let begunCount = 0;
    let faulted: Promise<void> | undefined;
    const client = async () => {
      for (let turn = 0; turn < eachCount; turn += 1) {
        begunCount += 1;
        if (begunCount * 4 >= clientCount * eachCount) faulted ??= (async () => await fault())();
        const startMs = performance.now();
        const failure = await this.#askOne(
          (turn & 2) !== 0,
          streams === 'half' && (turn & 1) === 0,
        );
        longestMs = Math.max(longestMs, performance.now() - startMs);
        if (failure !== null) failures.push(failure);
      }
    };
    await Promise.all(Array.from({ length: clientCount }, client));
    await faulted;
    return { requests: clientCount * eachCount, failures, longestMs: Math.round(longestMs) };
  }

  /** Null when every token came, once and in order. */
  async #askOne(chats: boolean, stream: boolean): Promise<string | null> {
    const prompt = `Question ${this.#askedCount++}: "why?"`;
    const messages = [{ role: 'user', content: prompt }];
    const answer: Answer = await ask(
      this.url,
      {
        ...{ model, max_tokens: tokenCount, temperature: 0, stream },
        ...(chats ? { messages } : { prompt }),
      },
      {
        path: chats ? '/v1/chat/completions' : '/v1/completions',
        signal: AbortSignal.timeout(60_000),
      },
    );
    if (answer.failure !== null) return `${answer.status}: ${answer.failure}`;
    const expected = scriptedText(JSON.stringify(chats ? messages : prompt), tokenCount);
    if (answer.text !== expected) return `"${answer.text}", not "${expected}"`;
    return answer.finishReason === 'length' ? null : `finish reason ${answer.finishReason}`;
  }

  /** Bytes that the proxy holds after a collection of garbage. */
  async heapBytes(): Promise<number> {
    rmSync(this.#heapPath, { force: true });
    process.kill(this.proxyPid, 'SIGUSR2');
    await eventually(() => existsSync(this.#heapPath), 'the proxy to tell its heap', 30_000);
    return Number(readFileSync(this.#heapPath, 'utf8'));
  }

  get #heapPath(): string {
    return join(this.processes.directory, 'heap');
  }

  async #start({ prefill, decode, argv = [], tellsHeap }: FaultBenchOptions): Promise<void> {
    const first = await freePorts(prefill.length + decode.length + 1);
    let port = first + 1;
    for (const [kind, scripts] of [['prefill', prefill] as const, ['decode', decode] as const]) {
      for (const script of scripts) {
        this[kind].push({ port, started: this.#instance(script, port) });
        port += 1;
      }
    }
    const all = [...this.prefill, ...this.decode];
    for (const one of all) await untilReady(`http://127.0.0.1:${one.port}/health`, one.started);
    const list = (kind: Kind) => this[kind].map((one) => `127.0.0.1:${one.port}`).join(',');
    const env = { NODE_OPTIONS: `--import=${heapTeller}`, HEAP_FILE: this.#heapPath };
    const proxy = this.processes.start(
      [
        ...['proxy', '--model', model, '--host', '127.0.0.1', '--port', String(first)],
        ...['--prefill', list('prefill'), '--decode', list('decode'), ...argv],
      ],
      tellsHeap === true ? { env } : {},
    );
    this.url = `http://127.0.0.1:${first}`;
    this.proxyPid = proxy.child.pid ?? 0;
    await untilReady(`${this.url}/ready`, proxy);
    await eventually(async () => {
      const status = (await (await fetch(`${this.url}/status`)).json()) as {
        instances: { state: string }[];
      };
      return status.instances.every(({ state }) => state === 'up');
    }, 'the proxy to know every instance');
  }

  #instance(script: InstanceScript, port: number): Started {
    const options = { model, ...script, port };
    return this.processes.startCommand(
      'instance',
      [
        ...[
          process.execPath,
          '--conditions=@tsukimi/source',
          '--import',
          import.meta.resolve('tsx'),
        ],
        ...[program, JSON.stringify(options)],
      ],
      { pipes: true },
    );
  }
}
