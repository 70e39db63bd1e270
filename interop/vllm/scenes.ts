import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts, type Processes, untilReady } from '../../e2e/processes.ts';
import { startOwnMaster } from '../masters.ts';
import { VllmInstance } from './instance.ts';

/** How KV comes from the prefill to the decode instance. */
export type Connector = 'store' | 'nixl';

/** A prefill instance and decode instances behind `tsukimi proxy`. */
export interface Scene extends AsyncDisposable {
  readonly proxyUrl: string;
  readonly prefill: VllmInstance;
  readonly decodes: readonly VllmInstance[];
}

/** For calls under `/instances`. */
export const adminApiKey = 'interop';

export interface World {
  readonly processes: Processes;
  readonly python: string;
  readonly model: string;
}

export async function startScene(
  connector: Connector,
  world: World,
  decodeCount = 1,
): Promise<Scene> {
  const { processes } = world;
  const ports = await freePorts(1 + 3 * (1 + decodeCount));
  const env = connector === 'store' ? await storeEnv(processes) : {};
  const roles = [
    'prefill',
    ...Array.from({ length: decodeCount }, () => 'decode' as const),
  ] as const;
  const instances = roles.map((role, at) => {
    const port = ports + 1 + 3 * at;
    return VllmInstance.launch(processes, {
      ...world,
      label: `${connector}-${role}`,
      port,
      transfer: transferOf(connector, role, port + 1),
      env: { ...env, ...sideChannel(port + 2) },
    });
  });
  const [prefill, ...decodes] = instances as [VllmInstance, ...VllmInstance[]];
  const stop = async () => {
    await Promise.all(instances.map((one) => one[Symbol.asyncDispose]()));
  };
  try {
    await Promise.all(instances.map((one) => one.ready()));
    const proxyUrl = `http://127.0.0.1:${ports}`;
    const started = processes.start(
      [
        ...['proxy', '--model', world.model, '--host', '127.0.0.1', '--port', String(ports)],
        ...['--prefill', prefill.address, '--decode', ...decodes.map(({ address }) => address)],
        ...(connector === 'store' ? ['--prefill-scheduling', 'kv_aware'] : []),
      ],
      { env: { ...env, ADMIN_API_KEY: adminApiKey } },
    );
    await untilReady(`${proxyUrl}/health`, started);
    return { proxyUrl, prefill, decodes, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Our master with its metadata server, and the file by which instances and proxy find them. */
async function storeEnv(processes: Processes): Promise<Record<string, string>> {
  const master = await startOwnMaster(processes);
  const path = join(processes.directory, 'mooncake.json');
  const config = {
    mode: 'embedded',
    metadata_server: master.metadata,
    master_server_address: master.address,
    protocol: 'tcp',
    device_name: '',
    global_segment_size: 512 * 2 ** 20,
    local_buffer_size: 128 * 2 ** 20,
  };
  writeFileSync(path, JSON.stringify(config));
  return { MOONCAKE_CONFIG_PATH: path };
}

function transferOf(connector: Connector, role: 'prefill' | 'decode', lookupPort: number): object {
  if (connector === 'nixl') return { kv_connector: 'NixlConnector', kv_role: 'kv_both' };
  return {
    kv_connector: 'MooncakeStoreConnector',
    kv_role: role === 'prefill' ? 'kv_producer' : 'kv_consumer',
    // Names a socket of each instance, which those of one host may not share.
    kv_connector_extra_config: { lookup_rpc_port: lookupPort },
  };
}

/** Where NIXL's handshake listens. */
function sideChannel(port: number): Record<string, string> {
  return { VLLM_NIXL_SIDE_CHANNEL_HOST: '127.0.0.1', VLLM_NIXL_SIDE_CHANNEL_PORT: String(port) };
}
