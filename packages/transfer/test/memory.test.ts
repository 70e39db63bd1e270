import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { Fault } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { allocateMemory, type Memory } from '../src/memory.ts';
import { MemoryRegistry } from '../src/memory-registry.ts';
import { hostId, openSegmentFile, removeStaleSegments, reserve } from '../src/segment-file.ts';
import { lockFile, mapFile } from '../src/system-calls.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function allocate(byteCount: number, shared: boolean): Memory {
  const memory = allocateMemory({ byteCount, shared, label: 'test segment' });
  cleanups.push(() => memory.close());
  return memory;
}

const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);

describe('private memory', () => {
  it('is zeroed, writable and at an address of its own', () => {
    const first = allocate(10_000, false);
    const second = allocate(10_000, false);
    expect(first.view).toEqual(Buffer.alloc(10_000));
    first.view.fill(7);
    expect(second.view[0]).toBe(0);
    expect(first.baseAddress).not.toBe(second.baseAddress);
    expect([first.sharedPath, first.sharedInode]).toEqual([null, null]);
  });

  it('has a size that makes sense', () => {
    for (const byteCount of [0, -1, 1.5, 2 ** 60]) {
      expect(() => allocate(byteCount, false)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    }
  });
});

describe('shared memory', () => {
  it('is a file of this user that another mapping sees, and goes with close', () => {
    const memory = allocate(1_000_000, true);
    const path = memory.sharedPath as string;
    expect(path).toMatch(new RegExp(`^/dev/shm/tsukimi-${boot}-${process.pid}-\\d+-\\d+$`));
    const { mode, size, blocks, ino } = statSync(path);
    expect([mode & 0o777, size, ino]).toEqual([0o600, 1_000_000, memory.sharedInode]);
    expect(blocks * 512).toBeGreaterThanOrEqual(1_000_000);
    const descriptor = openSync(path, 'r+');
    const other = mapFile(descriptor, 1_000_000);
    closeSync(descriptor);
    memory.view.write('hello', 999_990);
    expect(other.view.toString('latin1', 999_990, 999_995)).toBe('hello');
    memory.close();
    memory.close();
    expect(existsSync(path)).toBe(false);
    expect(other.view.toString('latin1', 999_990, 999_995)).toBe('hello');
    expect(memory.view[999_990]).toBe('h'.charCodeAt(0));
  });

  it('says in one sentence when /dev/shm is too small', () => {
    const { sharedPath } = allocate(10, true);
    const descriptor = openSync(sharedPath as string, 'r+');
    cleanups.push(() => closeSync(descriptor));
    const tooMuch = () => reserve(descriptor, 2 ** 45, 'the segment');
    expect(tooMuch).toThrow(expect.objectContaining({ code: 'NO_SPACE' }));
    expect(tooMuch).toThrow(
      '/dev/shm has no room for 32768 GiB of the segment; enlarge it or choose a smaller segment',
    );
  });

  it('leaves nothing behind when it cannot be had', () => {
    const before = readdirSync('/dev/shm');
    expect(() =>
      allocateMemory({ byteCount: 2 ** 50, shared: true, label: 'test segment' }),
    ).toThrow(Fault);
    expect(readdirSync('/dev/shm')).toEqual(before);
  });
});

describe('segment files of peers', () => {
  it('open only when they are exactly what the peer published', () => {
    const { sharedPath, sharedInode } = allocate(100, true);
    const [path, inode] = [sharedPath as string, sharedInode as number];
    const opened = openSegmentFile(path, inode, 100);
    expect(opened?.inode).toBe(inode);
    closeSync(opened?.descriptor as number);
    expect(openSegmentFile(path, inode + 1, 100)).toBeNull();
    expect(openSegmentFile(path, inode, 101)).toBeNull();
    expect(openSegmentFile(`/dev/shm/../shm/${path.slice(9)}`, inode, 100)).toBeNull();
    expect(openSegmentFile('/etc/passwd', statSync('/etc/passwd').ino, 1)).toBeNull();
    const link = `/dev/shm/tsukimi-${boot}-${process.pid}-1-999`;
    symlinkSync(path, link);
    cleanups.push(() => unlinkSync(link));
    expect(openSegmentFile(link, inode, 100)).toBeNull();
  });

  it('do not open without a living owner', () => {
    const path = `/dev/shm/tsukimi-${boot}-${process.pid}-1-998`;
    writeFileSync(path, 'x', { mode: 0o600 });
    cleanups.push(() => unlinkSync(path));
    expect(openSegmentFile(path, statSync(path).ino, 1)).toBeNull();
  });
});

describe('removing stale segments', () => {
  it('takes the files of owners that are gone, and no others', () => {
    const deadPid = spawnSync(process.execPath, ['-e', '']).pid;
    const own = allocate(10, true).sharedPath as string;
    const files = {
      dead: `/dev/shm/tsukimi-${boot}-${deadPid}-1-0`,
      reusedPid: `/dev/shm/tsukimi-${boot}-${process.pid}-1-0`,
      otherBoot: `/dev/shm/tsukimi-00000000-${process.pid}-1-0`,
      heldElsewhere: `/dev/shm/tsukimi-${boot}-${deadPid}-2-0`,
      foreign: `/dev/shm/tsukimi-notes-${process.pid}`,
    };
    for (const path of Object.values(files)) {
      writeFileSync(path, '');
      cleanups.push(() => existsSync(path) && unlinkSync(path));
    }
    const descriptor = openSync(files.heldElsewhere, 'r+');
    cleanups.push(() => closeSync(descriptor));
    lockFile(descriptor);
    expect(removeStaleSegments()).toBeGreaterThanOrEqual(3);
    expect([own, ...Object.values(files)].filter((path) => existsSync(path))).toEqual([
      own,
      files.heldElsewhere,
      files.foreign,
    ]);
  });

  it('takes the file of an owner that has ended, though its parent has not heard of it', async () => {
    // The shell becomes a program that never asks what became of the child.
    const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 30']);
    cleanups.push(() => parent.kill('SIGKILL'));
    const [pid] = (await once(parent.stdout, 'data')).map((line) => Number(String(line)));
    const stat = await eventually(() => {
      const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
      return text.includes(') Z ') && text;
    }, 'the child to end');
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const path = `/dev/shm/tsukimi-${boot}-${pid}-${startTime}-0`;
    writeFileSync(path, '');
    cleanups.push(() => existsSync(path) && unlinkSync(path));

    removeStaleSegments();

    expect(existsSync(path)).toBe(false);
  });

  it('is content with a directory that is not there', () => {
    expect(removeStaleSegments('/dev/shm/none-such')).toBe(0);
  });
});

describe('host id', () => {
  it('names the boot and the network namespace', () => {
    expect(hostId()).toMatch(/^[0-9a-f-]{36}:\d+$/);
  });
});

describe('memory registry', () => {
  it('finds bytes in one memory only', () => {
    const registry = new MemoryRegistry();
    const memories = [allocate(8_192, false), allocate(8_192, false)];
    for (const memory of memories) registry.register(memory);
    registry.checkInvariants();
    const { baseAddress, view } = memories[1] as Memory;
    view.write('abc', 8_189);
    expect(registry.resolve(baseAddress + 8_189n, 3n)?.toString()).toBe('abc');
    for (const [address, byteCount] of [
      [baseAddress + 8_189n, 4n],
      [baseAddress, 0n],
      [baseAddress, 2n ** 64n - 1n],
      [2n ** 64n - 1n, 2n],
      [0n, 1n],
    ] as const) {
      expect(registry.resolve(address, byteCount)).toBeNull();
    }
    expect(registry.unregister(memories[1] as Memory)).toBe(true);
    expect(registry.unregister(memories[1] as Memory)).toBe(false);
    expect(registry.resolve(baseAddress, 1n)).toBeNull();
  });
});
