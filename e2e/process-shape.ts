import { readdirSync, readFileSync } from 'node:fs';

export function residentMegabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_000);
}

export function descriptorCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** By how much `values`, taken at equal distances, grow from one to the next: the slope of the line that fits best. */
export function slopeOf(values: readonly number[]): number {
  const mean = (all: readonly number[]) => all.reduce((sum, one) => sum + one, 0) / all.length;
  const middle = (values.length - 1) / 2;
  const average = mean(values);
  const spread = values.map((_, at) => (at - middle) ** 2);
  return mean(values.map((value, at) => (at - middle) * (value - average))) / mean(spread);
}
