import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOptions, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { assembleMaster, masterOptions } from '@tsukimi/master';
import { MemoryMetadataStore } from '@tsukimi/metadata/testing';
import { describe, expect, it } from 'vitest';
import { MetadataCleaner } from '../src/metadata-cleaner.ts';

class Closable extends MemoryMetadataStore {
  async close(): Promise<void> {}
}

async function cleanerWith(clusterId = '') {
  const [store, clock] = [new Closable(), new FakeClock()];
  const cleaner = new MetadataCleaner({
    open: async () => store,
    clusterId,
    clock,
    logger: silentLogger,
  });
  await cleaner.start();
  const publish = async (name: string, rpcPort: number) => {
    await store.put(`mooncake/${clusterId}ram/${name}`, { name });
    await store.put(`mooncake/${clusterId}rpc_meta/${name}`, {
      ip_or_host_name: '127.0.0.1',
      rpc_port: rpcPort,
    });
  };
  return { store, clock, cleaner, publish, keys: () => [...store.values.keys()] };
}

async function listening() {
  const daemon = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => daemon.listen(0, '127.0.0.1', resolve));
  const { port } = daemon.address() as AddressInfo;
  return { port, stop: () => new Promise((resolve) => daemon.close(resolve)) };
}

describe('MetadataCleaner', () => {
  it('removes what an engine that is gone has published, once it is gone', async () => {
    const { cleaner, publish, keys } = await cleanerWith('moon/');
    const daemon = await listening();
    await publish('h:1', daemon.port);
    await publish('h:2', daemon.port);
    cleaner.engineLost('h:1');
    await cleaner.clean();
    expect(keys()).toHaveLength(4);
    await daemon.stop();
    await cleaner.clean();
    expect(keys()).toEqual(['mooncake/moon/ram/h:2', 'mooncake/moon/rpc_meta/h:2']);
    await cleaner.stop();
  });

  it('tries again while the metadata server is away', async () => {
    const { store, cleaner, publish, keys } = await cleanerWith();
    const daemon = await listening();
    await daemon.stop();
    await publish('h:1', daemon.port);
    cleaner.engineLost('h:1');
    store.down = true;
    await cleaner.clean();
    store.down = false;
    expect(keys()).toHaveLength(2);
    await cleaner.clean();
    expect(keys()).toEqual([]);
    await cleaner.stop();
  });

  it('forgets an engine that lives on', async () => {
    const { clock, cleaner, publish, keys } = await cleanerWith();
    const daemon = await listening();
    await publish('h:1', daemon.port);
    cleaner.engineLost('h:1');
    clock.advance(600_000);
    await cleaner.clean();
    await daemon.stop();
    await cleaner.clean();
    expect(keys()).toHaveLength(2);
    await cleaner.stop();
  });
});

describe('what a master cleans', () => {
  const namesOf = (argv: string[], env: Record<string, string> = {}) => {
    const options = loadOptions(masterOptions, { argv, env });
    const ports = { clock: new SystemClock(), random: new SeededRandom(1), logger: silentLogger };
    return assembleMaster(options, { ...ports, env }).services.map(({ name }) => name);
  };

  it('is the server inside, the one that is given, or that of the configuration file', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsukimi-cleaned-'));
    const path = join(directory, 'mooncake.json');
    try {
      const configured = { MOONCAKE_CONFIG_PATH: path };
      writeFileSync(path, '{"metadata_server": "etcd://127.0.0.1:2379"}');
      for (const [argv, env] of [
        [['--enable_http_metadata_server'], {}],
        [['--metadata-server', '127.0.0.1:2379'], {}],
        [[], { MOONCAKE_TE_META_DATA_SERVER: 'http://127.0.0.1:8080/metadata' }],
        [[], configured],
      ] as [string[], Record<string, string>][]) {
        expect(namesOf(argv, env)).toContain('metadata cleaner');
      }
      for (const [argv, env] of [
        [[], {}],
        [['--metadata-server', 'P2PHANDSHAKE'], {}],
        [['--enable_http_metadata_server', '--noenable_metadata_cleanup_on_timeout'], configured],
      ] as [string[], Record<string, string>][]) {
        expect(namesOf(argv, env)).not.toContain('metadata cleaner');
      }
      writeFileSync(path, '{"metadata_server": "carrier://h"}');
      expect(() => namesOf([], configured)).toThrow(/^MOONCAKE_CONFIG_PATH: .*metadata_server/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
