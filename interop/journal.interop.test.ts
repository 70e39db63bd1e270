import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { freePorts, Processes, sized } from '../e2e/processes.ts';
import { type Master, startOwnMaster } from './masters.ts';
import { answered, bytes, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

const objectCount = sized({ smoke: 60, full: 600 });
const sizeOf = (index: number) => [1, 700, 40_000, 300_000][index % 4] as number;

async function client(
  processes: Processes,
  master: { readonly address: string; readonly metadata: string },
  port: number,
  segmentByteCount: number,
): Promise<PythonClient> {
  const python = new PythonClient(processes, installWheel());
  const setup = { ...master, master: master.address, name: `127.0.0.1:${port}`, segmentByteCount };
  expect(await python.setup({ ...setup, bufferByteCount: 32 << 20 })).toBe(0);
  return python;
}

/** What a client does while masters die, and what it saw. */
class Traffic {
  readonly #python: PythonClient;
  readonly #values = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  calls = 0;
  failures = 0;
  stale = 0;
  longestMs = 0;

  constructor(python: PythonClient) {
    this.#python = python;
    this.#running = this.#run();
  }

  async end(): Promise<ReadonlyMap<string, number>> {
    this.#stop.abort();
    await this.#running;
    return this.#values;
  }

  async #run(): Promise<void> {
    for (let round = 0; !this.#stop.signal.aborted; round += 1) {
      const key = `traffic-${round}`;
      const put = await this.#timed(() =>
        this.#python.store<number>('put', key, pattern(round, 20_000)),
      );
      if (put === 0) this.#values.set(key, round);
      else this.failures += 1;
      const [read] = [...this.#values.keys()].slice(-1 - (round % 20));
      if (read === undefined) continue;
      const seen = await this.#timed(() => this.#python.store('get', read));
      const value = answered(patternBytes(this.#values.get(read) as number, 20_000));
      if (JSON.stringify(seen) === JSON.stringify(value)) continue;
      // Nothing is no lie; anything else is.
      if (JSON.stringify(seen) === JSON.stringify(bytes(''))) this.failures += 1;
      else this.stale += 1;
    }
  }

  async #timed<T>(act: () => Promise<T>): Promise<T> {
    const startedMs = performance.now();
    const result = await act();
    this.longestMs = Math.max(this.longestMs, performance.now() - startedMs);
    this.calls += 1;
    return result;
  }
}

async function fill(python: PythonClient): Promise<void> {
  for (let index = 0; index < objectCount; index += 1) {
    expect(await python.store('put', `kept-${index}`, pattern(index, sizeOf(index)))).toBe(0);
  }
}

/** How many objects read back whole; anything else than the value or nothing fails. */
async function kept(python: PythonClient): Promise<number> {
  let count = 0;
  for (let index = 0; index < objectCount; index += 1) {
    const seen = await python.store('get', `kept-${index}`);
    const value = answered(patternBytes(index, sizeOf(index)));
    if (JSON.stringify(seen) === JSON.stringify(bytes(''))) continue;
    expect(seen).toEqual(value);
    count += 1;
  }
  return count;
}

describe('kill -9 of a master with a journal, under published Python clients', () => {
  it('loses no object while their holders live, without anybody being restarted by hand', async () => {
    await using processes = new Processes();
    const firstPort = await freePorts(3);
    const flags = [`--journal-dir=${mkdtempSync(join(processes.directory, 'journal-'))}`];
    let master: Master = await startOwnMaster(processes, { flags, firstPort });
    const holders = [
      await client(processes, master, 12_311, 64 << 20),
      await client(processes, master, 12_312, 64 << 20),
    ];
    const reader = await client(processes, master, 12_313, 0);
    await fill(holders[0] as PythonClient);
    const traffic = new Traffic(holders[1] as PythonClient);
    await eventually(() => traffic.calls > 20, 'traffic');
    for (let kill = 0; kill < 2; kill += 1) {
      master.started.child.kill('SIGKILL');
      await master.started.exited;
      const killedMs = performance.now();
      master = await startOwnMaster(processes, { flags, firstPort });
      const upMs = performance.now() - killedMs;
      await eventually(async () => (await kept(reader)) === objectCount, 'all objects', 30_000);
      const allMs = performance.now() - killedMs;
      const before = traffic.failures;
      await eventually(() => traffic.calls > 20, 'traffic');
      console.log(
        `journal: master up after ${Math.round(upMs)} ms, all ${objectCount} objects after ${Math.round(allMs)} ms; ` +
          `longest call ${Math.round(traffic.longestMs)} ms, ${traffic.failures} of ${traffic.calls} calls failed (${before} before recovery)`,
      );
    }
    const values = await traffic.end();
    expect(traffic.stale).toBe(0);
    for (const [key, seed] of values) {
      expect(await reader.store('get', key)).toEqual(answered(patternBytes(seed, 20_000)));
    }
    const invariants = await fetch(`${master.adminUrl}/debug/invariants`);
    expect(await invariants.json()).toMatchObject({ ok: true });
    for (const python of [...holders, reader]) await python.store('close');
  });
});
