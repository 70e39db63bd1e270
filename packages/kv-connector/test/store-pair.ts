import { loadOptions, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { assembleMaster, type MasterCore, masterOptions } from '@tsukimi/master';
import { MemoryMetadataStore } from '@tsukimi/metadata/testing';
import { StoreClient } from '@tsukimi/store';
import { TransferEngine } from '@tsukimi/transfer';

export interface StorePair {
  readonly core: MasterCore;
  /** Lends the only segment. */
  readonly lender: StoreClient;
  readonly borrower: StoreClient;
  stop(): Promise<void>;
}

/** A real master over sockets and two members that share memory of this host. */
export async function startStorePair(segmentByteCount: number): Promise<StorePair> {
  const clock = new SystemClock();
  const argv = ['--host=127.0.0.1', '--port=0', '--metrics-port=0'];
  const master = assembleMaster(loadOptions(masterOptions, { argv, env: {} }), {
    clock,
    random: new SeededRandom(1),
    logger: silentLogger,
  });
  for (const service of master.services) await service.start();
  const metadata = new MemoryMetadataStore();
  const parts = [
    { name: '127.0.0.1:1', segment: { byteCount: segmentByteCount, shared: true } },
    { name: '127.0.0.1:2', segment: null },
  ].map(({ name, segment }, index) => {
    const random = new SeededRandom(index + 10);
    const host = '127.0.0.1';
    const common = { clock, random, logger: silentLogger };
    const engine = new TransferEngine({ ...common, name, metadata, host, sharedMemory: true });
    const store = new StoreClient({
      ...common,
      engine,
      segment,
      localHostname: name,
      masterAddress: { host, port: master.rpc.port },
      // A busy machine must not make a test fail.
      timeouts: { lookupMs: 5_000 },
    });
    return { engine, store };
  });
  for (const { engine, store } of parts) {
    await engine.start();
    await store.start();
    await eventually(() => store.state === 'serving', `${store.name} to be served`);
  }
  const [lender, borrower] = parts.map(({ store }) => store) as [StoreClient, StoreClient];
  const services = [...master.services, ...parts.flatMap(({ engine, store }) => [engine, store])];
  return {
    core: master.core,
    lender,
    borrower,
    async stop() {
      master.core.checkInvariants();
      for (const service of services.toReversed()) await service.stop(AbortSignal.abort());
    },
  };
}
