import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { SeededRandom, SystemClock } from '@tsukimi/base';
import { RpcClient } from '@tsukimi/rpc';
import { masterProtocol, ResponseParser } from '@tsukimi/wire';
import { expect, it } from 'vitest';
import { freePorts, Processes, sized, untilReady } from '../e2e/processes.ts';
import { spoil } from '../packages/wire/test/fuzz.ts';
import { framesOf } from '../packages/wire/test/vectors.ts';

const frameCount = sized({ smoke: 40_000, full: 1_000_000 });
const chunkFrameCount = 200;
const headerByteCount = 20;
const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_125);
/** The frames in so many equal batches: the first warm the master up, the others are compared. */
const batchCount = 8;
const growthMaxKib = 12 * 1_024;
/** A small heap is collected often, so that garbage does not look like growth. */
const smallHeap = '--max-semi-space-size=1 --max-old-space-size=128';

function residentKib(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** So little may be kept at a time, and so briefly, that the first batch has it all. */
const bounds = [
  ...['--segment_count_max=1000', '--object_count_max=1000', '--max_total_finished_tasks=100'],
  ...['--put_start_discard_timeout_sec=1', '--put_start_release_timeout_sec=3'],
  ...['--pending_task_timeout_sec=3', '--processing_task_timeout_sec=3', '--client_ttl=3'],
];

/** A connection that counts what is answered. */
class Prober {
  readonly #socket: Socket;
  readonly #parser = new ResponseParser(2 ** 26);
  #owedCount = 0;
  #settle: () => void = () => undefined;

  constructor(port: number) {
    this.#socket = connect(port, '127.0.0.1');
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => this.#settle());
    this.#socket.on('data', (chunk: Buffer) => {
      this.#owedCount -= this.#parser.push(chunk).length;
      if (this.#owedCount === 0) this.#settle();
    });
  }

  /** Resolves once each frame has its answer, or the server has closed the connection: gives the answers that lack. */
  async ask(frames: readonly Buffer[]): Promise<number> {
    this.#owedCount = frames.length;
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      this.#socket.write(Buffer.concat(frames));
    });
    return this.#owedCount;
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Sends what deserves no answer, and leaves. */
  leaveWith(frame: Buffer): void {
    this.#socket.end(frame, () => this.#socket.destroy());
  }
}

it(`a master takes ${frameCount} spoiled frames and neither breaks nor grows`, {
  timeout: 600_000,
}, async () => {
  await using processes = new Processes();
  const port = await freePorts(2);
  const master = processes.start(
    [
      ...['master', `--port=${port}`, '--host=127.0.0.1', '--metrics_host=127.0.0.1'],
      `--metrics_port=${port + 1}`,
      ...bounds,
    ],
    { env: { NODE_OPTIONS: smallHeap } },
  );
  const adminUrl = `http://127.0.0.1:${port + 1}`;
  await untilReady(`${adminUrl}/metrics`, master);
  const random = new SeededRandom(seed);
  const below = (count: number) => random.uint32() % count;
  const originals = framesOf('request');
  const spoiledFrame = () =>
    spoil(originals[below(originals.length)] as Buffer, headerByteCount, below);
  // An honest header lets what is spoiled in the body get past the parser: such a frame is answered.
  const honestFrame = () => {
    const frame = spoiledFrame();
    if (frame.length < headerByteCount) return Buffer.from(originals[0] as Buffer);
    frame.writeUInt32LE(0x15, 0);
    frame.writeBigUInt64LE(BigInt(frame.length - headerByteCount), 12);
    return frame;
  };
  let prober = new Prober(port);
  const floorsKib = Array.from({ length: batchCount }, () => Number.POSITIVE_INFINITY);
  for (let count = 0; count < frameCount; count += chunkFrameCount) {
    expect(await prober.ask(Array.from({ length: chunkFrameCount }, honestFrame))).toBe(0);
    const batch = Math.floor((count * batchCount) / frameCount);
    floorsKib[batch] = Math.min(
      floorsKib[batch] as number,
      residentKib(master.child.pid as number),
    );
    if (below(8) > 0) continue;
    prober.leaveWith(spoiledFrame());
    prober = new Prober(port);
  }
  prober.close();
  const client = new RpcClient({
    ...{ address: { host: '127.0.0.1', port }, protocol: masterProtocol, clock: new SystemClock() },
  });
  expect(await client.call('ServiceReady', [], { timeoutMs: 60_000 })).toEqual({ ok: '2.0.0' });
  client.close();
  console.log(`seed ${seed}: ${frameCount} frames, least KiB by batch: ${floorsKib.join(' ')}`);
  const [warmKib, endKib] = [floorsKib[batchCount / 2 - 1], floorsKib[batchCount - 1]];
  const grownKib = (endKib as number) - (warmKib as number);
  expect(grownKib).toBeLessThan(growthMaxKib);
  expect(master.log()).not.toContain('rpc.handler-failed');
  const invariants = await fetch(`${adminUrl}/debug/invariants`);
  expect([invariants.status, invariants.ok ? '' : await invariants.text()]).toEqual([200, '']);
});
