import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';
import { freePorts, Processes, type Started, untilReady } from './processes.ts';

export interface ClusterOptions {
  readonly prefill?: number;
  readonly decode?: number;
  readonly model?: string;
  readonly segmentSize?: string;
  /** More flags for every instance. */
  readonly serveArgs?: readonly string[];
  readonly masterArgs?: readonly string[];
  readonly proxyArgs?: readonly string[];
}

type Role = 'kv_producer' | 'kv_consumer' | 'kv_both';

/** The guide's processes, each started by its own command line, as an operator would in as many terminals. */
export class Cluster implements AsyncDisposable {
  readonly processes = new Processes();
  readonly url: string;
  readonly adminUrl: string;
  readonly adminKey = 'key-of-the-tests';
  readonly #firstPort: number;
  readonly #options: Required<ClusterOptions>;
  readonly #started = new Map<string, Started>();
  readonly #commands = new Map<string, () => Started>();

  private constructor(firstPort: number, options: ClusterOptions) {
    this.#firstPort = firstPort;
    this.#options = {
      ...{ prefill: 2, decode: 2, model: 'tsukimi-demo-1m', segmentSize: '64mb' },
      ...{ serveArgs: [], masterArgs: [], proxyArgs: [] },
      ...options,
    };
    this.url = `http://127.0.0.1:${firstPort}`;
    this.adminUrl = `http://127.0.0.1:${firstPort + 3}`;
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(await freePorts(30), options);
    cluster.#startAll();
    try {
      await cluster.ready();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  get configPath(): string {
    return join(this.processes.directory, 'mooncake.json');
  }

  instanceUrl(name: string): string {
    return `http://127.0.0.1:${this.#portOf(name)}`;
  }

  get instanceNames(): string[] {
    return [...this.#commands.keys()].filter((name) => /^(prefill|decode|both)-/.test(name));
  }

  started(name: string): Started {
    const started = this.#started.get(name);
    if (started === undefined) throw new Error(`no process is called ${name}`);
    return started;
  }

  /** Starts `name` again, after a kill. */
  restart(name: string): void {
    const command = this.#commands.get(name);
    if (command === undefined) throw new Error(`no process is called ${name}`);
    this.#started.set(name, command());
  }

  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { child, exited } = this.started(name);
    child.kill(signal);
    await exited;
  }

  /** Starts one more instance, with flags of its own; nobody tells the proxy. */
  addInstance(name: string, role: Role, ownArgs: readonly string[] = []): void {
    this.#define(name, () => this.#serve(name, role, ownArgs));
    this.restart(name);
  }

  async readyInstance(name: string): Promise<void> {
    await untilReady(`${this.instanceUrl(name)}/ready`, this.started(name));
  }

  async ready(): Promise<void> {
    await untilReady(`http://127.0.0.1:${this.#firstPort + 1}/health`, this.started('metadata'));
    await untilReady(`${this.adminUrl}/health`, this.started('master'));
    for (const name of this.instanceNames) await this.readyInstance(name);
    await untilReady(`${this.url}/ready`, this.started('proxy'));
    await eventually(async () => {
      const status = (await (await fetch(`${this.url}/status`)).json()) as {
        instances: readonly { readonly state: string }[];
      };
      return status.instances.every(({ state }) => state === 'up');
    }, 'the proxy to know every instance');
  }

  async metric(name: string, url = this.adminUrl): Promise<number> {
    const text = await (await fetch(`${url}/metrics`)).text();
    const values = text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
    if (values.length === 0) throw new Error(`${url}/metrics has no ${name}`);
    return values.reduce((sum, value) => sum + value, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.processes[Symbol.asyncDispose]();
  }

  #portOf(name: string): number {
    const [kind, index] = name.split('-');
    const first = { prefill: 5, decode: 13, both: 21 }[kind as string];
    if (first === undefined) throw new Error(`${name} is not an instance`);
    return this.#firstPort + first + Number(index);
  }

  #define(name: string, command: () => Started): void {
    this.#commands.set(name, command);
  }

  #serve(name: string, role: Role, ownArgs: readonly string[] = []): Started {
    const { model, serveArgs } = this.#options;
    const transfer = JSON.stringify({ kv_connector: 'MooncakeStoreConnector', kv_role: role });
    return this.processes.start(
      [
        ...['serve', '--model', model, '--host', '127.0.0.1', '--port', String(this.#portOf(name))],
        ...['--threads', '1', '--kv-transfer-config', transfer, ...serveArgs, ...ownArgs],
      ],
      { env: { MOONCAKE_CONFIG_PATH: this.configPath } },
    );
  }

  #startAll(): void {
    const { prefill, decode, model, segmentSize, masterArgs, proxyArgs } = this.#options;
    const at = (offset: number) => `127.0.0.1:${this.#firstPort + offset}`;
    writeFileSync(
      this.configPath,
      JSON.stringify({
        local_hostname: '127.0.0.1',
        metadata_server: `http://${at(1)}/metadata`,
        protocol: 'tcp',
        device_name: '',
        master_server_address: at(2),
        global_segment_size: segmentSize,
      }),
    );
    const port = (offset: number) => String(this.#firstPort + offset);
    this.#define('metadata', () =>
      this.processes.start(['metadata', '--host', '127.0.0.1', '--port', port(1)]),
    );
    this.#define('master', () =>
      this.processes.start([
        ...['master', '--rpc_address', '127.0.0.1', '--port', port(2), '--max_threads', '4'],
        ...['--metrics_host', '127.0.0.1', '--metrics_port', port(3), '--enable_gc', ...masterArgs],
      ]),
    );
    const names = (kind: string, count: number) =>
      Array.from({ length: count }, (_, index) => `${kind}-${index}`);
    const prefills = names('prefill', prefill);
    const decodes = names('decode', decode);
    for (const name of prefills) this.#define(name, () => this.#serve(name, 'kv_producer'));
    for (const name of decodes) this.#define(name, () => this.#serve(name, 'kv_consumer'));
    const addresses = (list: readonly string[]) =>
      list.map((name) => `localhost:${this.#portOf(name)}`);
    this.#define('proxy', () =>
      this.processes.start(
        [
          ...['proxy', '--model', model, '--host', '127.0.0.1', '--port', port(0)],
          ...['--prefill', ...addresses(prefills), '--decode', ...addresses(decodes)],
          ...['--master-server-address', at(2), '--scheduling', 'round_robin', ...proxyArgs],
        ],
        { env: { ADMIN_API_KEY: this.adminKey } },
      ),
    );
    for (const name of this.#commands.keys()) this.restart(name);
  }
}
