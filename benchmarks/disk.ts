/**
 * The disk tier beside `dd`, on the same disk, alternating in one run: files of 64 MiB written, and read back,
 * verified by us and unverified by `dd`. Both go through the page cache, as the disk tier does.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { SystemClock, silentLogger } from '@tsukimi/base';
import { DiskStore, LocalDiskFiles } from '@tsukimi/store';

const mebibyte = 2 ** 20;
const roundCount = 5;
const fileCount = 8;
const fileByteCount = 64 * mebibyte;
const byteCount = fileCount * fileByteCount;
const parallelReadCount = 4;

/** One JSON object: GB/s and CPU seconds a GB of disk tier and `dd`, and ratios of the speeds. */
export async function run(): Promise<object> {
  const directory = mkdtempSync(join(tmpdir(), 'tsukimi-bench-disk-'));
  try {
    const result: Record<string, number | string> = { benchmark: 'disk' };
    for (const objectByteCount of [64 * 1024, mebibyte, 16 * mebibyte]) {
      const seconds = { write: 0, read: 0, ddWrite: 0, ddRead: 0 };
      let cpuSeconds = 0;
      for (let round = 0; round < roundCount; round++) {
        const ours = await measureStore(join(directory, `${round}`), objectByteCount);
        const dd = measureDd(join(directory, 'dd'));
        seconds.write += ours.write;
        seconds.read += ours.read;
        cpuSeconds += ours.cpu;
        seconds.ddWrite += dd.write;
        seconds.ddRead += dd.read;
      }
      const rate = (total: number) => Number(((byteCount * roundCount) / total / 1e9).toFixed(2));
      const size = `${objectByteCount / 1024}_kib`;
      result[`write_gb_per_second_${size}`] = rate(seconds.write);
      result[`dd_write_gb_per_second_${size}`] = rate(seconds.ddWrite);
      result[`write_ratio_${size}`] = Number((seconds.ddWrite / seconds.write).toFixed(2));
      result[`verified_read_gb_per_second_${size}`] = rate(seconds.read);
      result[`dd_read_gb_per_second_${size}`] = rate(seconds.ddRead);
      result[`read_ratio_${size}`] = Number((seconds.ddRead / seconds.read).toFixed(2));
      const gigabytes = (2 * byteCount * roundCount) / 1e9;
      result[`cpu_seconds_per_gb_${size}`] = Number((cpuSeconds / gigabytes).toFixed(3));
    }
    return result;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function measureStore(directory: string, objectByteCount: number) {
  const store = new DiskStore({
    directories: [directory],
    capacity: 4 * byteCount,
    policy: 'lru',
    files: new LocalDiskFiles(),
    clock: new SystemClock(),
    logger: silentLogger,
    onEvicted: async () => {},
  });
  await store.open();
  const source = Buffer.alloc(fileByteCount, 'moonlight');
  const into = Array.from({ length: parallelReadCount }, () => Buffer.alloc(objectByteCount));
  const cpuBefore = process.cpuUsage();
  const writeMs = await timed(async () => {
    for (let file = 0; file < fileCount; file++) {
      const objects = Array.from({ length: fileByteCount / objectByteCount }, (_, at) => ({
        key: `${file}-${at}`,
        bytes: source.subarray(at * objectByteCount, (at + 1) * objectByteCount),
      }));
      if (typeof (await store.write(objects)) === 'string') throw new Error('nothing was written');
    }
  });
  const keys = [...store.objects].map(({ key }) => key);
  const readMs = await timed(async () => {
    let next = 0;
    const readOn = async (buffer: Buffer) => {
      while (next < keys.length) {
        const outcome = await store.read(keys[next++] as string, buffer);
        if (outcome !== 'read') throw new Error(`a read was ${outcome}`);
      }
    };
    await Promise.all(into.map(readOn));
  });
  const cpu = process.cpuUsage(cpuBefore);
  await store.clear();
  await store.close();
  return { write: writeMs / 1e3, read: readMs / 1e3, cpu: (cpu.user + cpu.system) / 1e6 };
}

function measureDd(path: string) {
  const dd = (...args: string[]) => {
    const startMs = performance.now();
    execFileSync('dd', ['bs=4M', 'status=none', ...args]);
    return (performance.now() - startMs) / 1e3;
  };
  const paths = Array.from({ length: fileCount }, (_, at) => `${path}-${at}`);
  const count = `count=${fileByteCount / (4 * mebibyte)}`;
  let [write, read] = [0, 0];
  for (const each of paths) write += dd('if=/dev/zero', `of=${each}`, count);
  for (const each of paths) read += dd(`if=${each}`, 'of=/dev/null');
  for (const each of paths) rmSync(each);
  return { write, read };
}

async function timed(act: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await act();
  return performance.now() - startMs;
}
