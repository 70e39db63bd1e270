import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { below, SeededRandom, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { type DiskFiles, LocalDiskFiles } from '../src/disk/disk-files.ts';
import { DiskStore } from '../src/disk/disk-store.ts';
import { MemoryFiles } from './memory-files.ts';

const evicted: string[] = [];

async function open(
  files: DiskFiles,
  { directories = ['/a'], capacity = 10_000 as number | null, clock = new FakeClock() } = {},
): Promise<DiskStore> {
  const store = new DiskStore({
    directories,
    capacity,
    policy: 'lru',
    files,
    clock,
    logger: silentLogger,
    onEvicted: async (keys) => void evicted.push(...keys),
  });
  await store.open();
  return store;
}

const value = (seed: number, byteCount = 1_000) => Buffer.alloc(byteCount, `${seed}-`);
const put = (store: DiskStore, key: string, bytes = value(1)) => store.write([{ key, bytes }]);
async function get(store: DiskStore, key: string, byteCount = 1_000) {
  const into = Buffer.alloc(byteCount);
  const outcome = await store.read(key, into);
  return outcome === 'read' ? into.toString() : outcome;
}

describe('DiskStore', () => {
  it('gives back what was written, also to the next process', async () => {
    const files = new MemoryFiles();
    const store = await open(files, { directories: ['/a', '/b'] });
    await store.write([
      { key: 'one', bytes: value(1) },
      { key: 'two\0keys', bytes: value(2, 10) },
    ]);
    await put(store, 'three', value(3));
    await put(store, 'one', value(4));
    for (const each of [store, await open(files, { directories: ['/a', '/b'] })]) {
      expect(await get(each, 'one')).toBe(value(4).toString());
      expect(await get(each, 'two\0keys', 10)).toBe(value(2, 10).toString());
      expect(await get(each, 'three')).toBe(value(3).toString());
      expect(await get(each, 'four')).toBe('missing');
      each.checkInvariants();
    }
  });

  it('makes room, and tells whose', async () => {
    evicted.length = 0;
    const files = new MemoryFiles();
    const store = await open(files, { capacity: 3_300 });
    for (const key of ['a', 'b', 'c']) await put(store, key);
    expect(await get(store, 'a')).toBe(value(1).toString());
    await put(store, 'd');
    expect(evicted).toEqual(['b']);
    expect(files.contents.size).toBe(3);
    expect(await put(store, 'large', value(1, 5_000))).toBe('no-room');
  });

  it('recognises every torn file and every flipped bit', async () => {
    const files = new MemoryFiles();
    const store = await open(files);
    await put(store, 'whole', value(1, 60));
    const [[path, whole] = ['', Buffer.alloc(0)]] = files.contents;
    for (let byteCount = 0; byteCount < whole.length; byteCount++) {
      files.contents.clear();
      files.contents.set(path, Buffer.from(whole.subarray(0, byteCount)));
      const next = await open(files);
      expect([next.objectCount, next.counters.tornFiles, files.contents.size]).toEqual([0, 1, 0]);
    }
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      files.contents.set(path, flipped);
      const next = await open(files);
      const outcome = next.objectCount === 0 ? 'torn' : await get(next, 'whole', 60);
      expect(['torn', 'damaged'], `bit ${bit}`).toContain(outcome);
      expect(next.counters.tornFiles + next.counters.damagedObjects).toBe(1);
    }
  });

  it('loses nothing else when a write is torn', async () => {
    const files = new MemoryFiles();
    const store = await open(files);
    await put(store, 'before');
    files.tearAfter = 500;
    expect(await put(store, 'torn')).toBe('failed');
    files.tearAfter = null;
    const next = await open(files);
    expect(next.counters.tornFiles).toBe(1);
    expect(await get(next, 'before')).toBe(value(1).toString());
    expect(await get(next, 'torn')).toBe('missing');
  });

  it.each(['ENOSPC', 'EIO'])(
    'is without a disk while it gives %s, then with it again',
    async (code) => {
      const files = new MemoryFiles();
      const clock = new FakeClock();
      const store = await open(files, { clock });
      await put(store, 'before');
      files.writeError = code;
      expect(await put(store, 'a')).toBe('failed');
      expect(store.isWritable).toBe(false);
      expect(await put(store, 'a')).toBe('no-room');
      expect([store.counters.writeFailures, store.counters.refusedObjects]).toEqual([1, 2]);
      expect(await get(store, 'before')).toBe(value(1).toString());
      files.writeError = null;
      clock.advance(11_000);
      expect(await put(store, 'a', value(2))).toHaveLength(1);
      expect(await get(store, 'a')).toBe(value(2).toString());
      expect(files.contents.size).toBe(2);
    },
  );

  it('goes on with the other disks when one fails to read', async () => {
    const files = new MemoryFiles();
    const store = await open(files);
    await put(store, 'a');
    files.readError = 'EIO';
    expect(await get(store, 'a')).toBe('failed');
    expect(store.counters.readFailures).toBe(1);
    files.readError = null;
    expect(await get(store, 'a')).toBe(value(1).toString());
  });

  it.each(Array.from({ length: 10 }, (_, seed) => seed))(
    'returns nothing but the newest bytes of a key, seed %i',
    async (seed) => {
      const random = new SeededRandom(seed);
      const files = new MemoryFiles();
      const clock = new FakeClock();
      let store = await open(files, { clock, directories: ['/a', '/b'], capacity: 4_000 });
      const newest = new Map<string, string>();
      for (let step = 0; step < 300; step++) {
        const key = `k${below(random, 12)}`;
        const bytes = value(step, 1_000);
        files.writeError = below(random, 10) === 0 ? 'ENOSPC' : null;
        const choice = below(random, 10);
        if (choice < 5) {
          const outcome = await put(store, key, bytes);
          // What could not be written leaves the older bytes; the tier above forgets them.
          if (typeof outcome === 'string') await store.remove(key);
          else newest.set(key, bytes.toString());
        } else if (choice < 9) {
          const read = await get(store, key);
          expect(['missing', newest.get(key)]).toContain(read);
        } else {
          clock.advance(2_000);
          files.writeError = null;
          const before = [...store.objects].map((object) => object.key).sort();
          store = await open(files, { clock, directories: ['/a', '/b'], capacity: 4_000 });
          const after = new Set([...store.objects].map((object) => object.key));
          expect(before.filter((each) => !after.has(each))).toEqual([]);
          for (const each of after) if (!before.includes(each)) await store.remove(each);
        }
        store.checkInvariants();
      }
      expect(store.counters.damagedObjects).toBe(0);
    },
  );
});

describe('LocalDiskFiles', () => {
  const cleanups: (() => void)[] = [];
  afterEach(() => {
    for (const clean of cleanups.splice(0)) clean();
  });
  const temporary = () => {
    const path = mkdtempSync(join(tmpdir(), 'tsukimi-disk-'));
    cleanups.push(() => rmSync(path, { recursive: true, force: true }));
    return path;
  };

  it('keeps objects of several megabytes in real files, for one process at a time', async () => {
    const directory = temporary();
    writeFileSync(join(directory, 'stranger.txt'), 'left alone');
    const store = await open(new LocalDiskFiles(), { directories: [directory], capacity: null });
    const objects = Array.from({ length: 600 }, (_, at) => ({
      key: `k${at}`,
      bytes: value(at, at === 7 ? 70 << 20 : 100 + at),
    }));
    expect(await store.write(objects)).toHaveLength(600);
    await expect(
      open(new LocalDiskFiles(), { directories: [directory], capacity: null }),
    ).rejects.toThrow('in use by another process');
    await store.close();
    const next = await open(new LocalDiskFiles(), { directories: [directory], capacity: null });
    for (const { key, bytes } of [objects[7], objects[0], objects[599]].flatMap((o) => o ?? [])) {
      const into = Buffer.alloc(bytes.length);
      expect(await next.read(key, into)).toBe('read');
      expect(into.equals(bytes)).toBe(true);
    }
    await next.close();
  });

  it('finds a full file system full, and uses it once there is room', async (context) => {
    const directory = temporary();
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory], {
        stdio: 'ignore',
      });
    } catch {
      context.skip('no file system may be mounted here');
    }
    cleanups.unshift(() => execFileSync('umount', [directory]));
    const clock = new FakeClock();
    const store = await open(new LocalDiskFiles(), {
      directories: [directory],
      capacity: 2 ** 30,
      clock,
    });
    const stranger = join(directory, 'stranger');
    writeFileSync(stranger, Buffer.alloc(900 << 10));
    expect(await put(store, 'a', value(1, 500 << 10))).toBe('failed');
    expect(store.counters.writeFailures).toBe(1);
    rmSync(stranger);
    clock.advance(11_000);
    expect(await put(store, 'a', value(1, 500 << 10))).toHaveLength(1);
    expect(await get(store, 'a', 500 << 10)).toBe(value(1, 500 << 10).toString());
    await store.close();
  });

  it('reports a directory that cannot be made', async () => {
    const file = join(temporary(), 'file');
    writeFileSync(file, '');
    const files = new LocalDiskFiles();
    await expect(open(files, { directories: [join(file, 'x')] })).rejects.toThrow('--disk-dir');
  });
});
