import { loadOptions, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { assembleMaster, type MasterCore, masterOptions } from '@tsukimi/master';

export interface RunningMaster {
  readonly port: number;
  readonly core: MasterCore;
  stop(): Promise<void>;
}

/** A real master on loopback; port 0 picks a free one. */
export async function startMaster(port: number, flags: string[] = []): Promise<RunningMaster> {
  const argv = [
    '--host=127.0.0.1',
    `--port=${port}`,
    '--metrics-port=0',
    '--remount-rest-sec=0',
    ...flags,
  ];
  const options = loadOptions(masterOptions, { argv, env: {} });
  const ports = { clock: new SystemClock(), random: new SeededRandom(3), logger: silentLogger };
  const { services, core, rpc } = assembleMaster(options, ports);
  for (const service of services) await service.start();
  const usedPort = rpc.port;
  return {
    port: usedPort,
    core,
    async stop() {
      for (const service of services.toReversed()) await service.stop(AbortSignal.abort());
    },
  };
}
