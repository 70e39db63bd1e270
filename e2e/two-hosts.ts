import { execFile, execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Processes } from './processes.ts';

const hosts = {
  a: { namespace: 'tsukimi-a', address: '10.77.0.1' },
  b: { namespace: 'tsukimi-b', address: '10.77.0.2' },
} as const;
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' });
const inNamespace = fileURLToPath(new URL('./in-namespace.mjs', import.meta.url));

export interface NamespaceReport {
  readonly answers: readonly {
    readonly status: number;
    readonly body: {
      readonly choices: readonly { readonly text: string }[];
      readonly usage: {
        readonly prompt_tokens_details: { readonly decode_loaded_tokens: number };
      };
    };
  }[];
  readonly metrics: readonly string[];
}

/**
 * Two network namespaces joined by one cable: metadata server, master, prefill and proxy in the first,
 * decode in the second. Nothing but that cable connects them, so KV can only travel over TCP.
 */
export class TwoHosts implements AsyncDisposable {
  readonly #processes = new Processes();

  static start(model: string): TwoHosts {
    removeNamespaces();
    const pair = new TwoHosts();
    for (const { namespace } of Object.values(hosts)) ip('netns', 'add', namespace);
    const { a, b } = hosts;
    ip(...['link', 'add', 'cable', 'netns', a.namespace, 'type', 'veth']);
    ip(...['-n', a.namespace, 'link', 'set', 'veth0', 'netns', b.namespace, 'name', 'cable']);
    for (const { namespace, address } of Object.values(hosts)) {
      ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'cable');
      ip('-n', namespace, 'link', 'set', 'cable', 'up');
      ip('-n', namespace, 'link', 'set', 'lo', 'up');
    }
    pair.#startProcesses(model);
    return pair;
  }

  /** Sends the requests through the proxy, from the first host. */
  async ask(bodies: readonly object[]): Promise<NamespaceReport> {
    const { a, b } = hosts;
    const job = {
      waitFor: [
        `http://${a.address}:8080/health`,
        `http://${a.address}:9003/health`,
        `http://${a.address}:8100/ready`,
        `http://${b.address}:8200/ready`,
        `http://${a.address}:8000/ready`,
      ],
      url: `http://${a.address}:8000`,
      metrics: [`http://${b.address}:8200/metrics`],
      bodies,
      width: 4,
    };
    return await new Promise((resolve, reject) => {
      const child = execFile(
        'ip',
        ['netns', 'exec', a.namespace, process.execPath, inNamespace],
        { maxBuffer: 2 ** 26 },
        (error, stdout) => {
          if (error === null) resolve(JSON.parse(stdout) as NamespaceReport);
          else reject(error);
        },
      );
      child.stdin?.end(JSON.stringify(job));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#processes[Symbol.asyncDispose]();
    removeNamespaces();
  }

  #startProcesses(model: string): void {
    const { a, b } = hosts;
    const start = (host: { namespace: string; address: string }, args: readonly string[]) => {
      const configPath = join(this.#processes.directory, `${host.namespace}.json`);
      writeFileSync(
        configPath,
        JSON.stringify({
          local_hostname: host.address,
          metadata_server: `http://${a.address}:8080/metadata`,
          protocol: 'tcp',
          device_name: '',
          master_server_address: `${a.address}:50051`,
          global_segment_size: '64mb',
        }),
      );
      this.#processes.start(args, {
        prefix: ['ip', 'netns', 'exec', host.namespace],
        env: { MOONCAKE_CONFIG_PATH: configPath },
      });
    };
    const serve = (port: number, role: string) => [
      ...['serve', '--model', model, '--port', String(port), '--threads', '1'],
      '--kv-transfer-config',
      JSON.stringify({ kv_connector: 'MooncakeStoreConnector', kv_role: role }),
    ];
    start(a, ['metadata', '--port', '8080']);
    start(a, ['master', '--port', '50051']);
    start(a, serve(8100, 'kv_producer'));
    start(b, serve(8200, 'kv_consumer'));
    start(a, [
      ...['proxy', '--model', model, '--port', '8000'],
      ...['--prefill', `${a.address}:8100`, '--decode', `${b.address}:8200`],
    ]);
  }
}

function removeNamespaces(): void {
  for (const { namespace } of Object.values(hosts)) {
    try {
      ip('netns', 'delete', namespace);
    } catch {
      // It was not there.
    }
  }
}
