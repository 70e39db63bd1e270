import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { Processes } from '../e2e/processes.ts';
import type { Wheel } from './wheel.ts';
import { Worker } from './worker.ts';

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

/** The published Python package in a process of its own. Calls run one after the other. */
export class PythonClient extends Worker {
  constructor(processes: Processes, wheel: Wheel, env: Record<string, string> = {}) {
    super(
      processes.startCommand(`python-${wheel.release}`, [wheel.python, workerPath], {
        pipes: true,
        env: { MC_TCP_BIND_ADDRESS: '127.0.0.1', MC_FORCE_TCP: '1', ...wheel.env, ...env },
      }),
    );
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
}
