import { type Logger, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { HttpMetadataStore, MetadataServer } from '@tsukimi/metadata';
import { TransferEngine } from '@tsukimi/transfer';
import { StoreClient } from '../src/index.ts';
import { type RunningMaster, startMaster } from './running-master.ts';

export interface Member {
  readonly store: StoreClient;
  readonly engine: TransferEngine;
  stop(): Promise<void>;
}

export interface MemberOptions {
  readonly name: string;
  readonly segmentByteCount: number | null;
  readonly shared: boolean;
  /** Engines ask each other instead of a metadata server. */
  readonly handshake?: boolean;
  readonly stagingByteCountMax?: number;
  readonly checksums?: boolean;
  /** Offers a disk too. */
  readonly diskDirectory?: string;
  readonly logger?: Logger;
}

/** A real metadata server, a real master and members, all in this process, over sockets. */
export class TestCluster {
  readonly clock = new SystemClock();
  readonly #metadata: MetadataServer;
  readonly #members: Member[] = [];
  #master: RunningMaster;
  #seed = 1;

  static async start(masterFlags: string[] = []): Promise<TestCluster> {
    const metadata = new MetadataServer({
      host: '127.0.0.1',
      port: 0,
      clock: new SystemClock(),
      logger: silentLogger,
    });
    await metadata.start();
    return new TestCluster(metadata, await startMaster(0, masterFlags));
  }

  private constructor(metadata: MetadataServer, master: RunningMaster) {
    this.#metadata = metadata;
    this.#master = master;
  }

  get master(): RunningMaster {
    return this.#master;
  }

  /** Gone and back on the same port, with nothing remembered. */
  async restartMaster(): Promise<void> {
    await this.stopMaster();
    await this.reviveMaster();
  }

  stopMaster(): Promise<void> {
    return this.#master.stop();
  }

  async reviveMaster(): Promise<void> {
    this.#master = await startMaster(this.#master.port);
  }

  /** A member that has started; see `serving` for one that the master knows. */
  async join(options: MemberOptions): Promise<Member> {
    const url = new URL(`http://127.0.0.1:${this.#metadata.port}/metadata`);
    const metadata = new HttpMetadataStore({ url, clock: this.clock });
    const common = { clock: this.clock, random: new SeededRandom(this.#seed++) };
    const engine = new TransferEngine({
      ...common,
      name: options.name,
      metadata: options.handshake === true ? null : metadata,
      host: '127.0.0.1',
      sharedMemory: options.shared,
      transferBaseMs: 10_000,
      logger: silentLogger,
    });
    await engine.start();
    const store = new StoreClient({
      ...common,
      masterAddress: { host: '127.0.0.1', port: this.#master.port },
      engine,
      localHostname: options.name,
      segment:
        options.segmentByteCount === null
          ? null
          : { byteCount: options.segmentByteCount, shared: options.shared },
      logger: options.logger ?? silentLogger,
      ...(options.diskDirectory === undefined
        ? {}
        : {
            disk: {
              directories: [options.diskDirectory],
              capacity: 2 ** 20,
              policy: 'lru' as const,
              bufferByteCount: 2 ** 20,
              listenHost: null,
            },
          }),
      ...(options.stagingByteCountMax === undefined
        ? {}
        : { stagingByteCountMax: options.stagingByteCountMax }),
      checksums: options.checksums ?? false,
      // A busy machine must not make a test fail.
      timeouts: { lookupMs: 5_000 },
    });
    await store.start();
    let stopped = false;
    const member: Member = {
      store,
      engine,
      async stop() {
        if (stopped) return;
        stopped = true;
        await store.stop(AbortSignal.abort());
        await engine.stop(AbortSignal.abort());
        await metadata.close();
      },
    };
    this.#members.push(member);
    return member;
  }

  async serving(options: MemberOptions): Promise<Member> {
    const member = await this.join(options);
    await eventually(() => member.store.state === 'serving', `${options.name} to be served`);
    return member;
  }

  async stop(): Promise<void> {
    for (const member of this.#members) await member.stop();
    await this.#master.stop();
    await this.#metadata.stop(AbortSignal.abort());
  }
}
