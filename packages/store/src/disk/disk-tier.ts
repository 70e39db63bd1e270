import {
  type Clock,
  deadline,
  formatAddress,
  type Logger,
  parseAddress,
  sleep,
} from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import { ErrorCode, errorName } from '@tsukimi/wire';
import type { BufferPool } from '../buffer-pool.ts';
import type { MasterLink } from '../master-link.ts';
import { DiskCalls, diskCallLimit } from './disk-calls.ts';
import type { DiskCounters } from './disk-counters.ts';
import { LocalDiskFiles } from './disk-files.ts';
import { DiskServer } from './disk-server.ts';
import { type DiskReadOutcome, DiskStore } from './disk-store.ts';
import { Offloading } from './offloading.ts';
import { Promotion } from './promotion.ts';
import { Restoration } from './restoration.ts';

/** A client's own disk, behind its memory. */
export interface DiskTierSettings {
  readonly directories: readonly string[];
  /** Bytes for objects in each; null for nine tenths of its file system. */
  readonly capacity: number | null;
  readonly policy: 'lru' | 'fifo';
  /** Memory from which peers read what lies on the disk. */
  readonly bufferByteCount: number;
  /** Where peers ask for it; null to let nobody. */
  readonly listenHost: string | null;
}

export interface DiskTierOptions extends DiskTierSettings {
  readonly localHostname: string;
  readonly link: MasterLink;
  readonly engine: TransferEngine;
  readonly staging: BufferPool;
  /** Whether the master counts on this client. */
  readonly isServing: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const heartbeatMs = 1_000;
const joinPollMs = 20;

/**
 * Objects leave memory for local disk and come back, as the master asks at each heartbeat. What earlier
 * processes left on the disk is told to every master that does not know it.
 */
export class DiskTier {
  readonly #options: DiskTierOptions;
  readonly #disk: DiskStore;
  readonly #server: DiskServer | null;
  readonly #calls: DiskCalls;
  readonly #offloading: Offloading;
  readonly #promotion: Promotion;
  readonly #restoration: Restoration;
  readonly #stopping = new AbortController();
  #isKnown = false;
  /** Why the master does not take the disk; null where it was not asked, or did. */
  #refusal: number | null = null;
  #running: Promise<void> = Promise.resolve();
  #restoring: Promise<void> = Promise.resolve();

  constructor(options: DiskTierOptions) {
    const { clock, engine, link, logger, staging, listenHost } = options;
    this.#options = options;
    const calls = new DiskCalls(link, logger);
    const disk = new DiskStore({
      ...options,
      files: new LocalDiskFiles(),
      onEvicted: (keys) => calls.gone(keys),
    });
    this.#calls = calls;
    this.#disk = disk;
    this.#server =
      listenHost === null
        ? null
        : new DiskServer({
            disk,
            engine,
            host: listenHost,
            bufferByteCount: options.bufferByteCount,
            onLost: (storageKey) => void this.#lost(storageKey),
            clock,
            logger,
          });
    const endpoint = () => this.endpoint;
    this.#offloading = new Offloading({ disk, calls, engine, endpoint, logger });
    this.#restoration = new Restoration({
      clientId: link.clientId,
      disk,
      calls,
      engine,
      staging,
      endpoint,
      clock,
      logger,
    });
    this.#promotion = new Promotion({ disk, link, engine, staging, logger });
  }

  /** Where peers ask for objects of this disk; only after `start`. */
  get endpoint(): string {
    if (this.#server === null) return '';
    const { host } = parseAddress(this.#options.localHostname, 'local hostname');
    return formatAddress({ host, port: this.#server.port });
  }

  get counters(): DiskCounters {
    return this.#disk.counters;
  }

  get objectCount(): number {
    return this.#disk.objectCount;
  }

  get byteCount(): number {
    return this.#disk.byteCount;
  }

  get capacity(): number {
    return this.#disk.capacity;
  }

  /** Whether the master knows the disk, with all that lies on it. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Whether it is known, or will not be: that master keeps nothing on disks. */
  get isSettled(): boolean {
    return this.#isKnown || this.#refusal === ErrorCode.UNABLE_OFFLOAD;
  }

  /** Objects of earlier processes that are not offered yet. */
  get doubtfulCount(): number {
    return this.#restoration.doubtfulCount;
  }

  get isWritable(): boolean {
    return this.#disk.isWritable;
  }

  get promotedCount(): number {
    return this.#promotion.promotedCount;
  }

  /** Rejects for a directory that cannot be used. */
  async start(): Promise<void> {
    await this.#disk.open();
    await this.#server?.start();
    const { logger } = this.#options;
    logger.info('disk.opened', { objects: this.objectCount, bytes: this.byteCount });
    this.#running = this.#run();
  }

  /** Peers are told to look elsewhere first, as far as a master is there to tell them. */
  async stop(deadlineSignal: AbortSignal): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#restoring;
    const { isServing, link } = this.#options;
    if (this.#isKnown && isServing()) {
      await link.ask('UnmountLocalDiskSegment', [link.clientId], { timeoutMs: 1_000 });
    }
    await this.#server?.stop(deadlineSignal);
    await this.#disk.close();
  }

  /** From this process's own disk, without asking anybody; null for another's endpoint. */
  async readOwn(
    endpoint: string,
    storageKey: string,
    into: Buffer,
  ): Promise<DiskReadOutcome | null> {
    if (endpoint === '' || endpoint !== this.endpoint) return null;
    const outcome = await this.#disk.read(storageKey, into);
    if (outcome === 'missing' || outcome === 'damaged') await this.#lost(storageKey);
    return outcome;
  }

  checkInvariants(): void {
    this.#disk.checkInvariants();
    this.#server?.checkInvariants();
  }

  async #run(): Promise<void> {
    const { clock, isServing, logger } = this.#options;
    const { signal } = this.#stopping;
    for (;;) {
      const isServed = isServing();
      if (isServed) {
        await this.#beat().catch((error: unknown) => {
          logger.error('disk.heartbeat_failed', { reason: String(error) });
        });
      }
      // Objects that are put before the master knows the disk do not get there.
      await sleep(clock, isServed ? heartbeatMs : joinPollMs, signal);
      if (signal.aborted) return;
    }
  }

  async #beat(): Promise<void> {
    const { clock, link } = this.#options;
    const { signal } = this.#stopping;
    if (!this.#isKnown && !(await this.#introduce())) return;
    const offload = await link.ask(
      'OffloadObjectHeartbeat',
      [link.clientId, this.#disk.isWritable],
      diskCallLimit,
    );
    if ('error' in offload) {
      if (offload.error === ErrorCode.SEGMENT_NOT_FOUND) this.#isKnown = false;
      return;
    }
    const removeAll = await link.ask('PollRemoveAll', [link.clientId], diskCallLimit);
    if ('ok' in removeAll && removeAll.ok) await this.#disk.clear();
    if (offload.ok.length > 0) await this.#offloading.perform(offload.ok, signal);
    const promote = await link.ask('PromotionObjectHeartbeat', [link.clientId], diskCallLimit);
    if ('error' in promote || promote.ok.length === 0) return;
    using limit = deadline(clock, 60_000, 'promotion', signal);
    await this.#promotion.perform(promote.ok, limit.signal);
  }

  /** Makes the disk known to the master, and what lies on it. */
  async #introduce(): Promise<boolean> {
    const { link, logger } = this.#options;
    const { clientId } = link;
    const mounted = await link.ask('MountLocalDiskSegment', [clientId, true], diskCallLimit);
    if ('error' in mounted && mounted.error !== ErrorCode.SEGMENT_ALREADY_EXISTS) {
      const { error } = mounted;
      if (error === this.#refusal) return false;
      this.#refusal = error;
      const isUnwanted = error === ErrorCode.UNABLE_OFFLOAD;
      logger.warn('disk.mount_refused', {
        error: errorName(error),
        ...(isUnwanted ? { remedy: 'start the master with --enable_offload' } : {}),
      });
      return false;
    }
    this.#refusal = null;
    // A master of an older release does not know this call, and needs it for a figure only.
    await link.ask('ReportSsdCapacity', [clientId, this.#disk.capacity], diskCallLimit);
    if (!(await this.#restoration.begin(this.#stopping.signal))) return false;
    this.#restoring = this.#restoring.then(() => this.#restoration.finish(this.#stopping.signal));
    this.#isKnown = true;
    return true;
  }

  async #lost(storageKey: string): Promise<void> {
    await this.#disk.remove(storageKey);
    await this.#calls.gone([storageKey]);
  }
}
