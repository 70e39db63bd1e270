import { type Address, formatAddress } from '@tsukimi/base';
import type { UpOptions } from './options.ts';

/** One process of the cluster: everything needed to start it and to see that it is ready. */
export interface ChildPlan {
  readonly name: string;
  /** What follows `tsukimi` on its command line. */
  readonly args: readonly string[];
  readonly address: Address;
  /** Answers 200 once the process is ready for work. */
  readonly readyUrl: string;
  /** Every port it takes, with the option of `up` that moves it. */
  readonly ports: readonly { readonly port: number; readonly option: string }[];
}

export interface ClusterPlan {
  readonly children: readonly ChildPlan[];
  /** Content of the `mooncake.json` that all instances share. */
  readonly mooncakeConfig: Readonly<Record<string, string | number>>;
  readonly proxyUrl: string;
}

export interface PlanInputs {
  readonly mooncakeConfigPath: string;
  /** Longest prompt plus answer for which all instances together have memory. */
  readonly maxModelLen: number;
  /** Cores this process may use. */
  readonly coreCount: number;
}

/**
 * Turns the options of `up` into the command lines of its children, the very ones an operator would type.
 * Start order is that of the list, though no child depends on it.
 */
export function planCluster(options: UpOptions, inputs: PlanInputs): ClusterPlan {
  const { host } = options;
  const at = (port: number): Address => ({ host, port });
  const urlOf = (port: number) => `http://${formatAddress(at(port))}`;
  const instanceCount = options.prefill + options.decode;
  const threads = options.threads ?? Math.max(1, Math.floor(inputs.coreCount / instanceCount));

  const metadata: ChildPlan = {
    name: 'metadata',
    args: ['metadata', '--host', host, '--port', String(options.metadataPort)],
    address: at(options.metadataPort),
    readyUrl: `${urlOf(options.metadataPort)}/health`,
    ports: [{ port: options.metadataPort, option: '--metadata-port' }],
  };
  const master: ChildPlan = {
    name: 'master',
    args: [
      ...['master', '--rpc_address', host, '--port', String(options.masterPort)],
      ...['--metrics_host', host, '--metrics_port', String(options.metricsPort)],
      ...(options.journalDir === undefined ? [] : ['--journal-dir', options.journalDir]),
    ],
    address: at(options.masterPort),
    readyUrl: `${urlOf(options.metricsPort)}/health`,
    ports: [
      { port: options.masterPort, option: '--master-port' },
      { port: options.metricsPort, option: '--metrics-port' },
    ],
  };
  const instance = (
    kind: 'prefill' | 'decode',
    index: number,
    firstPort: number,
    role: 'kv_producer' | 'kv_consumer',
  ): ChildPlan => {
    const port = firstPort + index;
    return {
      name: `${kind}-${index}`,
      args: [
        ...['serve', '--model', options.model, '--host', host, '--port', String(port)],
        ...['--max-num-seqs', String(options.maxNumSeqs), '--threads', String(threads)],
        ...['--gpu-memory-utilization', String(options.gpuMemoryUtilization)],
        ...['--max-model-len', String(inputs.maxModelLen)],
        ...(options.sharedMemory ? [] : ['--no-shared-memory']),
        ...['--mooncake-config', inputs.mooncakeConfigPath],
        // The dotted spelling, unlike JSON, survives being copied from `ps` into a shell.
        ...['--kv-transfer-config.kv_connector', 'MooncakeStoreConnector'],
        ...['--kv-transfer-config.kv_role', role],
      ],
      address: at(port),
      readyUrl: `${urlOf(port)}/ready`,
      ports: [{ port, option: `--${kind}-port` }],
    };
  };
  const instances = (
    kind: 'prefill' | 'decode',
    count: number,
    firstPort: number,
    role: 'kv_producer' | 'kv_consumer',
  ) => Array.from({ length: count }, (_, index) => instance(kind, index, firstPort, role));
  const prefill = instances('prefill', options.prefill, options.prefillPort, 'kv_producer');
  const decode = instances('decode', options.decode, options.decodePort, 'kv_consumer');
  const proxy: ChildPlan = {
    name: 'proxy',
    args: [
      ...['proxy', '--model', options.model, '--host', host, '--port', String(options.port)],
      ...['--scheduling', options.scheduling],
      ...['--master-server-address', formatAddress(at(options.masterPort))],
      ...['--prefill', ...prefill.map(({ address }) => formatAddress(address))],
      ...['--decode', ...decode.map(({ address }) => formatAddress(address))],
    ],
    address: at(options.port),
    readyUrl: `${urlOf(options.port)}/ready`,
    ports: [{ port: options.port, option: '--port' }],
  };
  return {
    children: [metadata, master, ...prefill, ...decode, proxy],
    mooncakeConfig: {
      local_hostname: host,
      metadata_server: `${urlOf(options.metadataPort)}/metadata`,
      protocol: 'tcp',
      device_name: '',
      master_server_address: formatAddress(at(options.masterPort)),
      global_segment_size: options.segmentSize,
    },
    proxyUrl: urlOf(options.port),
  };
}
