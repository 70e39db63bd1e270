import { performance } from 'node:perf_hooks';
import { expect } from 'vitest';
import { type Processes, sized } from '../e2e/processes.ts';
import { answered, bytes, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

export const objectCount = sized({ smoke: 60, full: 600 });
const sizeOf = (index: number) => [1, 700, 40_000, 300_000][index % 4] as number;

export async function joinedClient(
  processes: Processes,
  master: { readonly address: string; readonly metadata: string },
  port: number,
  segmentByteCount: number,
  env: Record<string, string> = {},
): Promise<PythonClient> {
  const python = new PythonClient(processes, installWheel(), env);
  const setup = { ...master, master: master.address, name: `127.0.0.1:${port}`, segmentByteCount };
  expect(await python.setup({ ...setup, bufferByteCount: 32 << 20 })).toBe(0);
  return python;
}

/** What a client does while masters die, and what it saw. */
export class Traffic {
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
        this.#python.store<number>('put', key, pattern(round, 4_000)),
      );
      if (put === 0) this.#values.set(key, round);
      else this.failures += 1;
      const [read] = [...this.#values.keys()].slice(-1 - (round % 20));
      if (read === undefined) continue;
      const seen = await this.#timed(() => this.#python.store('get', read));
      const value = answered(patternBytes(this.#values.get(read) as number, 4_000));
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

export async function fill(python: PythonClient): Promise<void> {
  for (let index = 0; index < objectCount; index += 1) {
    expect(await python.store('put', `kept-${index}`, pattern(index, sizeOf(index)))).toBe(0);
  }
}

/** How many objects read back whole; anything else than the value or nothing fails. */
export async function kept(python: PythonClient): Promise<number> {
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
