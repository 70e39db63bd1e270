import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { TransferEngine } from '@tsukimi/transfer';
import { storageKeyOf } from '@tsukimi/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskServer } from '../src/disk/disk-server.ts';
import { DiskStore } from '../src/disk/disk-store.ts';
import { PeerDisks } from '../src/disk/peer-disks.ts';
import { MemoryFiles } from './memory-files.ts';

const clock = new SystemClock();
const common = { clock, random: new SeededRandom(1), logger: silentLogger };
const bufferByteCount = 2 ** 20;
const tenantId = 'default';

describe('a disk that peers read', () => {
  let engines: TransferEngine[];
  let disk: DiskStore;
  let server: DiskServer;
  let peers: PeerDisks;

  beforeEach(async () => {
    engines = ['127.0.0.1:1', '127.0.0.1:2'].map(
      (name) =>
        new TransferEngine({
          ...{ ...common, name, metadata: null, host: '127.0.0.1' },
          sharedMemory: false,
        }),
    );
    for (const engine of engines) await engine.start();
    const [holder, reader] = engines as [TransferEngine, TransferEngine];
    disk = new DiskStore({
      ...common,
      directories: ['/disk'],
      capacity: 2 ** 24,
      policy: 'lru',
      files: new MemoryFiles(),
      onEvicted: async () => {},
    });
    await disk.open();
    const serving = { disk, engine: holder, host: '127.0.0.1', bufferByteCount };
    server = new DiskServer({ ...common, ...serving, onLost: () => {} });
    await server.start();
    peers = new PeerDisks({ ...common, engine: reader, tenantId });
  });
  afterEach(async () => {
    peers.close();
    await server.stop(AbortSignal.abort());
    await disk.close();
    for (const engine of engines) await engine.stop(AbortSignal.abort());
  });

  const read = async (key: string, byteCount: number) => {
    const bytes = Buffer.alloc(byteCount, key);
    await disk.write([{ key: storageKeyOf(tenantId, key), bytes }]);
    const range = { offset: 0, into: Buffer.alloc(byteCount) };
    const endpoint = `127.0.0.1:${server.port}`;
    const signal = new AbortController().signal;
    const isRead = await peers.read(endpoint, key, byteCount, range, signal);
    return isRead && range.into.equals(bytes);
  };

  it('gives what fits its buffer, and says at once that the rest never will', async () => {
    expect(await read('small', 1_000)).toBe(true);
    expect(await read('as-large-as-the-buffer', bufferByteCount)).toBe(true);
    expect(await read('larger', bufferByteCount + 1)).toBe(false);
    server.checkInvariants();
  });
});
