import { type Clock, type Logger, type Scheduled } from '@tsukimi/base';
import { RpcServer } from '@tsukimi/rpc';
import { allocateMemory, type Memory, type TransferEngine } from '@tsukimi/transfer';
import { type DiskProtocol, diskProtocol, ErrorCode, type ResultOf } from '@tsukimi/wire';
import { Arena } from '../core/arena.ts';
import type { DiskStore } from './disk-store.ts';

export interface DiskServerOptions {
  readonly disk: DiskStore;
  /** Peers read what was loaded through it. */
  readonly engine: TransferEngine;
  readonly host: string;
  /** Memory for what is loaded. */
  readonly bufferByteCount: number;
  /** Told of objects that could not be read back, whose copies should not be offered any more. */
  readonly onLost: (storageKey: string) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

type Loaded = ResultOf<DiskProtocol['batch_get_offload_object']>;

/** How long loaded objects stay for whoever asked, when nobody releases them. */
const gcTtlMs = 5_000;
const keyCountMax = 4_096;
const alignment = 4_096;

/** Loads objects from the disk into memory for peers, as Mooncake's clients do for theirs. */
export class DiskServer {
  readonly #options: DiskServerOptions;
  readonly #server: RpcServer<DiskProtocol>;
  readonly #arena: Arena;
  readonly #batches = new Map<bigint, { readonly offset: number; readonly expiry: Scheduled }>();
  #memory: Memory | null = null;
  #lastBatchId = 0n;

  constructor(options: DiskServerOptions) {
    this.#options = options;
    this.#arena = new Arena(options.bufferByteCount, alignment);
    const { clock, logger, host } = options;
    this.#server = new RpcServer({
      name: 'disk server',
      host,
      port: 0,
      protocol: diskProtocol,
      handlers: {
        batch_get_offload_object: ([keys, sizes]) => this.#load(keys, sizes),
        release_offload_buffer: ([batchId]) => this.#release(batchId),
      },
      clock,
      logger,
    });
  }

  /** Only after `start`. */
  get port(): number {
    return this.#server.port;
  }

  get loadedCount(): number {
    return this.#batches.size;
  }

  async start(): Promise<void> {
    const { bufferByteCount: byteCount, engine } = this.#options;
    this.#memory = allocateMemory({ byteCount, shared: false, label: '--disk-buffer-size' });
    engine.register(this.#memory);
    await this.#server.start();
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.#server.stop(deadline);
    for (const batchId of [...this.#batches.keys()]) this.#release(batchId);
    if (this.#memory === null) return;
    this.#options.engine.unregister(this.#memory);
    this.#memory.close();
  }

  async #load(keys: readonly string[], byteCounts: readonly number[]): Promise<Loaded> {
    const { disk, engine, onLost, clock, logger } = this.#options;
    const isPlausible =
      keys.length > 0 &&
      keys.length <= keyCountMax &&
      keys.length === byteCounts.length &&
      byteCounts.every((byteCount) => Number.isSafeInteger(byteCount) && byteCount > 0);
    if (!isPlausible || this.#memory === null) return { error: ErrorCode.INVALID_PARAMS };
    // Nothing is allocated for what is not here.
    const isHere = keys.every((key, at) => disk.find(key)?.byteCount === byteCounts[at]);
    if (!isHere) return { error: ErrorCode.OBJECT_NOT_FOUND };
    const starts: number[] = [];
    let byteCount = 0;
    for (const each of byteCounts) {
      starts.push(byteCount);
      byteCount += Math.ceil(each / alignment) * alignment;
    }
    if (byteCount > this.#memory.byteCount) {
      // Not BUFFER_OVERFLOW, which tells peers that there will be room in a moment.
      logger.warn('disk.buffer_too_small', { bytes: byteCount, remedy: '--disk-buffer-size' });
      return { error: ErrorCode.INVALID_PARAMS };
    }
    const offset = this.#arena.take(byteCount);
    if (offset === null) return { error: ErrorCode.BUFFER_OVERFLOW };
    const { baseAddress, view } = this.#memory;
    const outcomes = await Promise.all(
      keys.map((key, at) => {
        const start = offset + (starts[at] as number);
        return disk.read(key, view.subarray(start, start + (byteCounts[at] as number)));
      }),
    );
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome === 'missing' || outcome === 'damaged') onLost(keys[at] as string);
    }
    if (outcomes.some((outcome) => outcome !== 'read')) {
      this.#arena.giveBack(offset);
      return { error: ErrorCode.OBJECT_NOT_FOUND };
    }
    this.#lastBatchId += 1n;
    const batchId = this.#lastBatchId;
    const expiry = clock.schedule(gcTtlMs, () => this.#release(batchId));
    this.#batches.set(batchId, { offset, expiry });
    const pointers = starts.map((start) => baseAddress + BigInt(offset + start));
    return { ok: { batchId, pointers, transferEngineAddress: engine.name, gcTtlMs } };
  }

  #release(batchId: bigint): boolean {
    const batch = this.#batches.get(batchId);
    if (batch === undefined) return false;
    this.#batches.delete(batchId);
    batch.expiry.cancel();
    this.#arena.giveBack(batch.offset);
    return true;
  }

  checkInvariants(): void {
    this.#arena.checkInvariants();
  }
}
