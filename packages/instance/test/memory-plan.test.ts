import { describe, expect, it } from 'vitest';
import { availableMemory } from '../src/available-memory.ts';
import { planMemory } from '../src/memory-plan.ts';

const mebibyte = 2 ** 20;
const need = {
  weightsByteCount: 16 * mebibyte,
  slotCount: 8,
  kvByteCountPerToken: 4_096,
  segmentByteCount: 256 * mebibyte,
  maxModelLen: 2_048,
  modelContextLength: 4_096,
};
const roomy = { availableByteCount: 1_024 * mebibyte, utilization: 0.5 };

describe('planMemory', () => {
  it('adds up weights, slots and segment', () => {
    expect(planMemory(need, roomy)).toEqual({
      maxModelLen: 2_048,
      needByteCount: (16 + 256 + 64) * mebibyte,
      limitByteCount: 512 * mebibyte,
    });
  });

  it("takes the model's length, or what fits, when none is asked for", () => {
    expect(planMemory({ ...need, maxModelLen: null }, roomy).maxModelLen).toBe(4_096);
    const tight = { availableByteCount: 310 * mebibyte, utilization: 1 };
    const plan = planMemory({ ...need, maxModelLen: null }, tight);
    expect(plan.maxModelLen).toBe(1_024);
    expect(plan.needByteCount).toBeLessThanOrEqual(plan.limitByteCount);
  });

  it('refuses what does not fit, with the numbers and what helps', () => {
    const tight = { availableByteCount: 300 * mebibyte, utilization: 0.9 };
    expect(() => planMemory(need, tight)).toThrow(
      /16 MiB.*8 × 2048 tokens × 4 KiB.*256 MiB.*= 336 MiB.*0\.9 of 300 MiB.*is 270 MiB.*--max-num-seqs/,
    );
    expect(() => planMemory({ ...need, maxModelLen: null }, tight)).toThrow(/--max-model-len/);
  });

  it('counts several instances of one machine together', () => {
    expect(planMemory({ ...need, segmentByteCount: 0 }, roomy, 4).needByteCount).toBe(
      320 * mebibyte,
    );
    expect(() => planMemory(need, roomy, 4)).toThrow(/4 instances/);
  });

  it("refuses a length above the model's with both numbers", () => {
    expect(() => planMemory({ ...need, maxModelLen: 5_000 }, roomy)).toThrow(/5000.*4096/);
  });
});

describe('availableMemory', () => {
  const available = (files: Readonly<Record<string, string>>) =>
    availableMemory((path) => files[path] ?? null);
  const machine = { '/proc/meminfo': 'MemTotal: 9000 kB\nMemAvailable:    8000 kB\n' };

  it("is the machine's where no group limits it", () => {
    expect(available(machine)).toBe(8_000 * 1_024);
    expect(
      available({
        ...machine,
        '/proc/self/cgroup': '0::/a\n',
        '/sys/fs/cgroup/a/memory.max': 'max\n',
        '/sys/fs/cgroup/a/memory.current': '5\n',
      }),
    ).toBe(8_000 * 1_024);
  });

  it('heeds a limit of a parent group and does not count file pages that can be dropped', () => {
    expect(
      available({
        ...machine,
        '/proc/self/cgroup': '0::/a/b\n',
        '/sys/fs/cgroup/a/memory.max': '1000000\n',
        '/sys/fs/cgroup/a/memory.current': '600000\n',
        '/sys/fs/cgroup/a/memory.stat': 'anon 1\ninactive_file 200000\n',
      }),
    ).toBe(600_000);
  });

  it('heeds version 1, and the root where only that is visible', () => {
    expect(
      available({
        ...machine,
        '/proc/self/cgroup': '5:cpu:/x\n4:memory:/docker/abc\n',
        '/sys/fs/cgroup/memory/memory.limit_in_bytes': '500000\n',
        '/sys/fs/cgroup/memory/memory.usage_in_bytes': '700000\n',
      }),
    ).toBe(0);
  });
});
