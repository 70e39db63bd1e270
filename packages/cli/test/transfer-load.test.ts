import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { allocateMemory, TransferEngine } from '@tsukimi/transfer';
import { afterEach, describe, expect, it } from 'vitest';
import { describeFigures, figuresAsJson, runTransferLoad } from '../src/bench/transfer-load.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const clock = new SystemClock();

async function start() {
  const engine = new TransferEngine({
    ...{ name: '', metadata: null, host: '127.0.0.1', sharedMemory: false },
    ...{ clock, random: new SeededRandom(1), logger: silentLogger, transferBaseMs: 30_000 },
  });
  await engine.start();
  cleanups.push(() => engine.stop(AbortSignal.abort()));
  const memory = allocateMemory({ byteCount: 2 ** 20, shared: false, label: 'memory' });
  engine.register(memory);
  return { engine, memory };
}

describe('the load of bench transfer', () => {
  it('moves every block of every thread to its own place', async () => {
    const [target, initiator] = [await start(), await start()];
    const load = {
      ...{ ...initiator, clock, segmentId: target.engine.name, durationMs: 0 },
      ...{ blockSize: 4_096, batchSize: 16, threads: 16 },
    };
    const never = new AbortController().signal;
    for (let block = 0; block < 256; block += 1) {
      initiator.memory.view.fill(block, block * 4_096, (block + 1) * 4_096);
    }
    const written = await runTransferLoad({ ...load, operation: 'write' }, never);
    expect(target.memory.view.equals(initiator.memory.view)).toBe(true);
    expect(written).toMatchObject({ batchCount: 16, byteCount: 2 ** 20 });
    target.memory.view.fill(5);
    await runTransferLoad({ ...load, operation: 'read' }, never);
    expect(target.memory.view.equals(initiator.memory.view)).toBe(true);
  });

  it('says which buffer is too small, and ends with the fault of a transfer', async () => {
    const [target, initiator] = [await start(), await start()];
    const load = {
      ...{ ...initiator, clock, segmentId: target.engine.name, durationMs: 10_000 },
      ...({ operation: 'read', blockSize: 65_536, batchSize: 16, threads: 2 } as const),
    };
    const never = new AbortController().signal;
    await expect(runTransferLoad(load, never)).rejects.toThrow('--buffer_size');
    const running = runTransferLoad({ ...load, threads: 1 }, never);
    await target.engine.stop(AbortSignal.abort());
    await expect(running).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
  });

  it('reports in the unit that is asked for', () => {
    const figures = {
      ...{ byteCount: 4e9, batchCount: 7, seconds: 2 },
      ...{ latencyP50Ms: 1.234, latencyP99Ms: 5, cpuSeconds: 1 },
    };
    expect(describeFigures(figures, 'GB', 2)).toBe(
      'Test completed: duration 2.00, batch count 7, throughput 2.00 GB/s; batch P50 1.23 ms, P99 5.00 ms, 0.250 CPU seconds a GB',
    );
    expect(describeFigures(figures, 'Gb', 0)).toContain('throughput 16 Gb/s');
    expect(figuresAsJson(figures)).toMatchObject({ gb_per_second: 2, cpu_seconds_per_gb: 0.25 });
  });
});
