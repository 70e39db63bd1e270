/**
 * Putting and getting over TCP with the published Python client and with ours, to a segment of either,
 * under the same `mooncake_master`; and with ours through shared memory. CPU seconds a GB (10⁹ bytes) of
 * the client's process and of the segment's count more than the speed, which moves with the machine.
 * TSUKIMI_BENCH_SIZES (KiB), TSUKIMI_BENCH_MS and TSUKIMI_BENCH_PAIRS (`ours:real`) shorten it.
 */
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Processes, type Started } from '../e2e/processes.ts';
import { startRealMaster } from '../interop/masters.ts';
import { installWheel } from '../interop/wheel.ts';

type Kind = 'real' | 'ours' | 'ours-shm';

const segmentByteCount = 640 * 2 ** 20;
const roundByteCount = 128 * 2 ** 20;
const sizes = (process.env['TSUKIMI_BENCH_SIZES'] ?? '64,1024,4096,16384')
  .split(',')
  .map((kib) => Number(kib) * 1_024);
const ms = Number(process.env['TSUKIMI_BENCH_MS'] ?? 1_000);
const only = process.env['TSUKIMI_BENCH_PAIRS']?.split(',');
const pairs = (
  [
    ['real', 'real'],
    ['ours', 'real'],
    ['real', 'ours'],
    ['ours', 'ours'],
    ['ours-shm', 'ours-shm'],
  ] as const satisfies readonly (readonly [client: Kind, holder: Kind])[]
).filter((pair) => only === undefined || only.includes(pair.join(':')));
const ops = {
  real: ['put', 'get', 'put_from', 'get_into', 'batch_put_from', 'batch_get_into'],
  ours: ['put_from', 'get_into', 'batch_put_from', 'batch_get_into'],
} as const;

interface Measured {
  readonly bytes: number;
  readonly seconds: number;
  readonly client_cpu: number;
  readonly holder_cpu: number;
  readonly median_us: number;
}

/** One JSON object for each pair, operation and size. */
export async function run(): Promise<object[]> {
  const results: object[] = [copyInMemory()];
  for (const [client, holder] of pairs) results.push(...(await measurePair(client, holder)));
  return results;
}

/** What shared memory is compared with. */
function copyInMemory(): object {
  const from = Buffer.alloc(roundByteCount, 1);
  const to = Buffer.alloc(roundByteCount, 2);
  const cpuAtStart = process.cpuUsage();
  let byteCount = 0;
  for (const untilMs = performance.now() + ms; performance.now() < untilMs; ) {
    for (let at = 0; at < from.length; at += 2 ** 20) from.copy(to, at, at, at + 2 ** 20);
    byteCount += from.length;
  }
  const { user, system } = process.cpuUsage(cpuAtStart);
  const gbPerCpuSecond = round(byteCount / 1e3 / (user + system));
  return { benchmark: 'store-peers', op: 'memcpy', gb_per_cpu_second: gbPerCpuSecond };
}

async function measurePair(clientKind: Kind, holderKind: Kind): Promise<object[]> {
  await using processes = new Processes();
  const flags = ['--default_kv_lease_ttl=60000', '--client_ttl=60'];
  const master = await startRealMaster(processes, { flags });
  const start = async (kind: Kind, host: string, byteCount: number, holder?: Started) => {
    const pid = String(holder?.child.pid ?? 'self');
    const common = [`127.0.0.1:${host}`, master.metadata, master.address, String(byteCount)];
    const script = fileURLToPath(new URL('store-member.ts', import.meta.url));
    const python = fileURLToPath(new URL('python/store_client.py', import.meta.url));
    const command =
      kind === 'real'
        ? [installWheel().python, python, ...common, pid]
        : [
            process.execPath,
            '--import',
            'tsx',
            script,
            ...common,
            kind.split('-')[1] ?? 'tcp',
            pid,
          ];
    const started = processes.startCommand(kind, command, {
      pipes: true,
      env: { MC_TCP_BIND_ADDRESS: '127.0.0.1', MC_FORCE_TCP: '1' },
      cwd: process.cwd(),
    });
    const lines = createInterface({ input: started.child.stdout as NodeJS.ReadableStream });
    const next = async () => {
      const ended = started.exited.then(() => {
        throw new Error(`${kind}: ${started.log()}`);
      });
      const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string];
      return JSON.parse(line) as unknown;
    };
    await next();
    return { started, next };
  };
  const holder = await start(holderKind, '17001', segmentByteCount);
  const client = await start(clientKind, '17002', 0, holder.started);
  const results: object[] = [];
  for (const size of sizes) {
    for (const op of ops[clientKind === 'real' ? 'real' : 'ours']) {
      const batch = op.startsWith('batch') ? (size >= 16 * 2 ** 20 ? 4 : 16) : 1;
      const command = { op, size, count: roundByteCount / size, batch, ms };
      client.started.child.stdin?.write(`${JSON.stringify(command)}\n`);
      const measured = (await client.next()) as Measured;
      const gb = measured.bytes / 1e9;
      results.push({
        benchmark: 'store-peers',
        client: clientKind,
        holder: holderKind,
        op,
        object_bytes: size,
        gb_per_second: round(gb / measured.seconds),
        client_cpu_seconds_per_gb: round(measured.client_cpu / gb),
        holder_cpu_seconds_per_gb: round(measured.holder_cpu / gb),
        gb_per_cpu_second: round(gb / (measured.client_cpu + measured.holder_cpu)),
        median_us: Math.round(measured.median_us),
      });
    }
  }
  return results;
}

const round = (value: number) => Number(value.toFixed(3));
