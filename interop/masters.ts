import { freePorts, type Processes, type Started, untilReady } from '../e2e/processes.ts';
import { installWheel, type Wheel } from './wheel.ts';

/** A master with a metadata server inside, in a process of its own. */
export interface Master {
  readonly kind: 'real' | 'own';
  readonly started: Started;
  /** `host:port` of its RPC server. */
  readonly address: string;
  readonly port: number;
  readonly adminUrl: string;
  /** As `metadata_server` of mooncake.json. */
  readonly metadata: string;
}

export interface MasterStart {
  /** More flags, in the spelling that both masters know. */
  readonly flags?: readonly string[];
  /** RPC, admin and metadata port are this and the next two; free ones are found when absent. */
  readonly firstPort?: number;
}

/** The `mooncake_master` of a wheel. */
export async function startRealMaster(
  processes: Processes,
  { flags = [], firstPort, wheel = installWheel() }: MasterStart & { readonly wheel?: Wheel } = {},
): Promise<Master> {
  const port = firstPort ?? (await freePorts(3));
  const command = [wheel.program('mooncake_master'), ...flagsFor(port), ...flags];
  const label = `mooncake_master-${wheel.release}`;
  return ready('real', port, processes.startCommand(label, command, { env: wheel.env }));
}

/** `tsukimi master`. */
export async function startOwnMaster(
  processes: Processes,
  { flags = [], firstPort }: MasterStart = {},
): Promise<Master> {
  const port = firstPort ?? (await freePorts(3));
  return ready('own', port, processes.start(['master', ...flagsFor(port), ...flags]));
}

function flagsFor(port: number): string[] {
  return [
    ...[`--rpc_port=${port}`, `--metrics_port=${port + 1}`, '--rpc_address=127.0.0.1'],
    ...['--enable_http_metadata_server=true', `--http_metadata_server_port=${port + 2}`],
    '--http_metadata_server_host=127.0.0.1',
  ];
}

async function ready(kind: Master['kind'], port: number, started: Started): Promise<Master> {
  const adminUrl = `http://127.0.0.1:${port + 1}`;
  const metadata = `http://127.0.0.1:${port + 2}/metadata`;
  await untilReady(`${adminUrl}/metrics`, started);
  await untilReady(`http://127.0.0.1:${port + 2}/health`, started);
  return { kind, started, port, address: `127.0.0.1:${port}`, adminUrl, metadata };
}
