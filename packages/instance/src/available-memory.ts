import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Content of a file of the kernel's; null when there is none. */
export type ReadText = (path: string) => string | null;

/** Bytes that this process may still take: the machine's, or less where a control group says so. */
export function availableMemory(read: ReadText = readKernelFile): number {
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(read('/proc/meminfo') ?? '')?.[1];
  const machine = kibibytes === undefined ? Number.MAX_SAFE_INTEGER : Number(kibibytes) * 1024;
  return Math.max(0, Math.min(machine, ...controlGroupHeadrooms(read)));
}

/** Of every group that this process is in, parents included; version 2 and 1 alike. */
function controlGroupHeadrooms(read: ReadText): number[] {
  const headrooms: number[] = [];
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    const controllers = match?.[1];
    if (controllers === undefined) continue;
    const unified = controllers === '';
    if (!unified && !controllers.split(',').includes('memory')) continue;
    const root = unified ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
    // Inside a container the path may be the host's, and only the root be visible.
    for (let group = match?.[2] as string; ; group = dirname(group)) {
      const headroom = headroomOf(read, `${root}${group === '/' ? '' : group}`, unified);
      if (headroom !== null) headrooms.push(headroom);
      if (group === '/') break;
    }
  }
  return headrooms;
}

function headroomOf(read: ReadText, path: string, unified: boolean): number | null {
  const limit = read(`${path}/${unified ? 'memory.max' : 'memory.limit_in_bytes'}`)?.trim();
  const usage = read(`${path}/${unified ? 'memory.current' : 'memory.usage_in_bytes'}`)?.trim();
  if (limit === undefined || usage === undefined || !/^\d+$/.test(limit)) return null;
  const statistics = read(`${path}/memory.stat`) ?? '';
  // Pages of files that nobody has touched lately are given up on demand; the group counts them as used.
  const name = unified ? 'inactive_file' : 'total_inactive_file';
  const reclaimable = new RegExp(`^${name} (\\d+)$`, 'm').exec(statistics)?.[1] ?? '0';
  return Number(limit) - Math.max(0, Number(usage) - Number(reclaimable));
}

function readKernelFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
