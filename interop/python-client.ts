import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Processes, Started } from '../e2e/processes.ts';
import type { Wheel } from './wheel.ts';

const workerPath = fileURLToPath(new URL('python/worker.py', import.meta.url));

/** What JSON lacks, as the worker spells it. */
export const bytes = (data: Buffer | string) => ({
  $bytes: Buffer.from(data).toString('base64'),
});
export const config = (fields: Readonly<Record<string, unknown>>) => ({ $config: fields });
export const address = (buffer: number, offset = 0) => ({ $address: [buffer, offset] });

/** `size` bytes that follow from `seed`, made by the worker; `patternBytes` makes the same here. */
export const pattern = (seed: number, size: number) => ({ $pattern: [seed, size] });

export function patternBytes(seed: number, size: number): Buffer {
  const block = Buffer.concat(
    Array.from({ length: 32 }, () => createHash('sha256').update(String(seed)).digest()),
  );
  const whole = Buffer.alloc(Math.ceil(size / 1_032) * 1_032);
  for (let number = 0; number * 1_032 < size; number++) {
    whole.writeUInt32LE(number, number * 1_032);
    block.copy(whole, number * 1_032 + 8);
  }
  return whole.subarray(0, size);
}

/** What the worker answers for bytes: themselves, or their digest when they are long. */
export function answered(data: Buffer): object {
  return data.length <= 1_024
    ? { $bytes: data.toString('base64') }
    : { $digest: createHash('sha256').update(data).digest('hex'), size: data.length };
}

class PythonError extends Error {}

/** The published Python package in a process of its own. Calls run one after the other. */
export class PythonClient {
  readonly started: Started;
  readonly #waiting = new Map<number, (answer: { result?: unknown; raised?: string }) => void>();
  #nextId = 1;

  constructor(processes: Processes, wheel: Wheel, env: Record<string, string> = {}) {
    this.started = processes.startCommand(`python-${wheel.release}`, [wheel.python, workerPath], {
      pipes: true,
      env: { MC_TCP_BIND_ADDRESS: '127.0.0.1', MC_FORCE_TCP: '1', ...env },
    });
    const { stdout } = this.started.child;
    if (stdout === null) throw new Error('the worker has no standard output');
    createInterface({ input: stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as { id: number; result?: unknown; raised?: string };
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    void this.started.exited.then(([code, signal]) => {
      for (const settle of this.#waiting.values()) {
        settle({ raised: `the process has ended: ${code ?? signal}` });
      }
      this.#waiting.clear();
    });
  }

  /** A method of `MooncakeDistributedStore`. */
  store<T = unknown>(call: string, ...args: unknown[]): Promise<T> {
    return this.call('store', call, args);
  }

  /** A method of `TransferEngine`. */
  engine<T = unknown>(call: string, ...args: unknown[]): Promise<T> {
    return this.call('engine', call, args);
  }

  /** Memory of the worker: `allocate`, `fill`, `peek`; and `descriptors`. */
  worker<T = unknown>(call: string, ...args: unknown[]): Promise<T> {
    return this.call('worker', call, args);
  }

  /** Sets up a store client; gives the return code. */
  setup(options: {
    readonly name: string;
    readonly metadata: string;
    readonly master: string;
    readonly segmentByteCount?: number;
    readonly bufferByteCount?: number;
  }): Promise<number> {
    const { name, metadata, master, segmentByteCount = 0, bufferByteCount = 16 << 20 } = options;
    return this.store(
      'setup',
      ...[name, metadata, segmentByteCount, bufferByteCount, 'tcp', '', master],
    );
  }

  async call<T>(on: string, call: string, args: readonly unknown[], limitMs = 100_000): Promise<T> {
    const id = this.#nextId++;
    const answer = await new Promise<{ result?: unknown; raised?: string }>((resolve) => {
      const limit = setTimeout(() => {
        resolve({ raised: `no answer to ${call} within ${limitMs} ms` });
      }, limitMs);
      this.#waiting.set(id, (settled) => {
        clearTimeout(limit);
        resolve(settled);
      });
      this.started.child.stdin?.write(`${JSON.stringify({ id, on, call, args })}\n`);
    });
    if (answer.raised !== undefined) {
      throw new PythonError(`${call}: ${answer.raised}\n${this.started.log().slice(-2_000)}`);
    }
    return answer.result as T;
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<void> {
    this.started.child.kill('SIGKILL');
    await this.started.exited;
  }
}
