import { type Clock, Fault } from '@tsukimi/base';
import type { Memory, TransferEngine } from '@tsukimi/transfer';

export interface TransferLoadOptions {
  readonly engine: TransferEngine;
  readonly memory: Memory;
  readonly clock: Clock;
  readonly segmentId: string;
  readonly operation: 'read' | 'write';
  readonly blockSize: number;
  /** Blocks that are submitted together. */
  readonly batchSize: number;
  /** Batches under way at once. */
  readonly threads: number;
  readonly durationMs: number;
}

export interface TransferFigures {
  readonly byteCount: number;
  readonly batchCount: number;
  readonly seconds: number;
  /** Of one batch. */
  readonly latencyP50Ms: number;
  readonly latencyP99Ms: number;
  /** Of this process, both of user and system. */
  readonly cpuSeconds: number;
}

/**
 * Moves blocks to or from a segment until the time is up, at the places where Mooncake's
 * `transfer_engine_bench` has them: block i of thread t is number i × threads + t. Every
 * thread moves one batch at least. Rejects with the first fault.
 */
export async function runTransferLoad(
  options: TransferLoadOptions,
  stop: AbortSignal,
): Promise<TransferFigures> {
  const { engine, memory, clock, segmentId, operation, blockSize, batchSize, threads } = options;
  const extent = blockSize * batchSize * threads;
  const buffers = await engine.buffersOf(segmentId, { signal: stop });
  for (const [what, size] of [
    ['--buffer_size', memory.byteCount],
    [`the buffer of ${segmentId}`, Math.min(...buffers.map(({ byteCount }) => byteCount))],
  ] as const) {
    if (buffers.length > 0 && size >= extent) continue;
    throw new Fault(
      'INVALID_ARGUMENT',
      `${what} must hold --block_size × --batch_size × --threads = ${extent} bytes; choose smaller ones`,
    );
  }
  const latencies: number[] = [];
  const startMs = clock.monotonicMs();
  const cpuAtStart = process.cpuUsage();
  const worker = async (thread: number) => {
    const base = buffers[thread % buffers.length]?.address as bigint;
    const requests = Array.from({ length: batchSize }, (_, index) => {
      const at = blockSize * (index * threads + thread);
      return {
        kind: operation,
        endpoint: segmentId,
        address: base + BigInt(at),
        bytes: memory.view.subarray(at, at + blockSize),
      } as const;
    });
    do {
      const sentMs = clock.monotonicMs();
      const batch = engine.submit(requests, { signal: stop });
      for (const status of await batch.wait()) {
        if (status.state === 'failed' && !stop.aborted) throw status.reason;
      }
      if (batch.failedCount === 0) latencies.push(clock.monotonicMs() - sentMs);
    } while (!stop.aborted && clock.monotonicMs() - startMs < options.durationMs);
  };
  await Promise.all(Array.from({ length: threads }, (_, thread) => worker(thread)));
  const seconds = (clock.monotonicMs() - startMs) / 1_000;
  const { user, system } = process.cpuUsage(cpuAtStart);
  latencies.sort((left, right) => left - right);
  const quantile = (share: number) =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
  return {
    byteCount: latencies.length * batchSize * blockSize,
    batchCount: latencies.length,
    seconds,
    latencyP50Ms: quantile(0.5),
    latencyP99Ms: quantile(0.99),
    cpuSeconds: (user + system) / 1e6,
  };
}

/** Bytes in one of each, after Mooncake's `--report_unit`. */
export const reportUnits = {
  GB: 1e9,
  GiB: 2 ** 30,
  Gb: 1e9 / 8,
  MB: 1e6,
  MiB: 2 ** 20,
  Mb: 1e6 / 8,
  KB: 1e3,
  KiB: 2 ** 10,
  Kb: 1e3 / 8,
} as const;

export function describeFigures(
  figures: TransferFigures,
  unit: keyof typeof reportUnits,
  precision: number,
): string {
  const { byteCount, batchCount, seconds, latencyP50Ms, latencyP99Ms, cpuSeconds } = figures;
  const rate = (byteCount / seconds / reportUnits[unit]).toFixed(precision);
  const cpu = byteCount === 0 ? '-' : (cpuSeconds / (byteCount / 1e9)).toFixed(3);
  return [
    `Test completed: duration ${seconds.toFixed(2)}, batch count ${batchCount}, throughput ${rate} ${unit}/s`,
    `batch P50 ${latencyP50Ms.toFixed(2)} ms, P99 ${latencyP99Ms.toFixed(2)} ms, ${cpu} CPU seconds a GB`,
  ].join('; ');
}

export function figuresAsJson(figures: TransferFigures): object {
  const { byteCount, batchCount, seconds, latencyP50Ms, latencyP99Ms, cpuSeconds } = figures;
  const gb = byteCount / 1e9;
  return {
    bytes: byteCount,
    batches: batchCount,
    seconds,
    gb_per_second: gb / seconds,
    batch_p50_ms: latencyP50Ms,
    batch_p99_ms: latencyP99Ms,
    cpu_seconds: cpuSeconds,
    cpu_seconds_per_gb: gb === 0 ? null : cpuSeconds / gb,
  };
}
