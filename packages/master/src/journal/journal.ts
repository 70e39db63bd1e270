import { renameSync, unlinkSync } from 'node:fs';
import {
  type Clock,
  Ending,
  every,
  Fault,
  type Logger,
  type Random,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import type { AnswerGate } from '@tsukimi/rpc';
import type { ChangeLog, CoreImage } from '../core/change-log.ts';
import { BatchType, FileKind } from './batch.ts';
import { BatchWriter, RecordBuffer } from './batch-writer.ts';
import type { JournalDirectory } from './journal-directory.ts';
import { type OpenJournalFile, syncDirectory } from './journal-file.ts';
import type { JournalEnd, LogStart } from './journal-follower.ts';
import { SnapshotRun } from './snapshot-run.ts';

/** Whether this master may still write and answer, where several share a journal. */
export interface Fence {
  /** Nobody else can have taken over. */
  readonly isCertain: boolean;
  /** Runs `act` if nobody else has, and keeps others from it meanwhile. */
  guard(act: () => void): 'done' | 'busy' | 'lost';
}

export interface JournalOptions {
  readonly directory: JournalDirectory;
  readonly open: OpenJournalFile;
  /** How long what was answered may wait to be on the disk; 0: it is there before the answer leaves. */
  readonly syncPeriodMs: number;
  /** A log of this size is followed by a snapshot, once it is also twice as long as the last one. */
  readonly snapshotByteCount: number;
  readonly bootId: string;
  /** Null where no other master may write here. */
  readonly fence: Fence | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface JournalCounters {
  batches: number;
  byteCount: number;
  syncs: number;
  failures: number;
  snapshots: number;
  lastSnapshotMs: number;
}

/** After a failure, the journal is begun anew so often. */
const retryPeriodMs = 5_000;
/** Changes that no answer waited for are written after this time. */
const idleCommitMs = 100;

/**
 * Writes what a core changes. What belongs to the answers of one turn of the event loop is written with
 * one call at the end of that turn, and only then do the answers leave.
 *
 * Where the disk fails, the master goes on without: the files are removed, since they would tell of
 * objects whose bytes have been given to others, and begun anew with a snapshot as soon as they can be.
 */
export class Journal implements Service, AnswerGate {
  readonly name = 'journal (--journal-dir)';
  readonly counters: JournalCounters = {
    ...{ batches: 0, byteCount: 0, syncs: 0, failures: 0, snapshots: 0, lastSnapshotMs: 0 },
  };
  readonly #options: JournalOptions;
  readonly #buffer = new RecordBuffer();
  readonly #ending = new Ending();
  readonly #timers: Scheduled[] = [];
  #retry: Scheduled | null = null;
  #image: (() => CoreImage) | null = null;
  #log: BatchWriter | null = null;
  #generation = 1;
  #nextSequence = 0;
  /** Whether the files on the disk tell everything. */
  #isWhole = false;
  #snapshot: SnapshotRun | null = null;
  #lastSnapshotByteCount = 0;
  #waiting: (() => void)[] = [];
  #isTurnOpen = false;
  #isSyncing = false;
  #unsyncedByteCount = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** To be told of all changes. */
  get changes(): ChangeLog {
    return this.#buffer.records;
  }

  /** Whether a restart would find everything. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Goes on behind what was there; `image` gives the state as it is. Throws `MISCONFIGURED`. */
  begin(end: JournalEnd, image: () => CoreImage): void {
    this.#image = image;
    this.#generation = end.nextGeneration;
    this.#nextSequence = end.nextSequence;
    try {
      this.#alone(() => this.#openLog(end.last === null));
    } catch (error) {
      const { path } = this.#options.directory;
      const reason = `--journal-dir ${path} cannot be written: ${(error as Error).message}`;
      throw new Fault('MISCONFIGURED', reason, { cause: error });
    }
    this.#isWhole = true;
  }

  start(): Promise<void> {
    const { clock, syncPeriodMs } = this.#options;
    this.#timers.push(every(clock, idleCommitMs, () => this.#openTurn()));
    if (syncPeriodMs > 0) {
      this.#timers.push(every(clock, syncPeriodMs, () => this.#sync().catch(() => {})));
    }
    return Promise.resolve();
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  /** Writes the rest, and that it was the rest. */
  async stop(): Promise<void> {
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#retry?.cancel();
    this.#snapshot?.cancel();
    this.#image = null;
    const isAllowed = this.#commitIfAllowed();
    const log = this.#log;
    this.#log = null;
    if (log !== null && !isAllowed) log.file.close();
    else if (log !== null) {
      try {
        log.writeJson(null, BatchType.END);
        await log.file.sync();
      } catch (error) {
        this.#options.logger.error('journal.failed', { reason: (error as Error).message });
      }
      log.file.close();
    }
    if (isAllowed) this.#release();
    this.#ending.stopped();
  }

  holdBack(release: () => void): boolean {
    const isCertain = this.#options.fence?.isCertain ?? true;
    if (isCertain && this.#buffer.isEmpty && !this.#isSyncing) return false;
    this.#waiting.push(release);
    this.#openTurn();
    return true;
  }

  #openTurn(): void {
    if (this.#isTurnOpen || this.#isSyncing) return;
    this.#isTurnOpen = true;
    setImmediate(() => this.#endTurn());
  }

  #endTurn(): void {
    this.#isTurnOpen = false;
    if (this.#isSyncing || !this.#commitIfAllowed()) return;
    if (this.#options.syncPeriodMs > 0 || this.#unsyncedByteCount === 0) {
      this.#release();
      return;
    }
    const released = this.#waiting;
    this.#waiting = [];
    this.#isSyncing = true;
    void this.#sync().finally(() => {
      this.#isSyncing = false;
      this.#snapshotIfFull();
      for (const release of released) release();
      if (this.#waiting.length > 0 || !this.#buffer.isEmpty) this.#openTurn();
    });
  }

  /** False: what was done must not be told, now or ever. */
  #commitIfAllowed(): boolean {
    const { fence } = this.#options;
    if (fence === null || fence.isCertain) {
      this.#commit();
      if (fence?.isCertain !== false) return true;
    }
    const outcome = fence.guard(() => this.#commit());
    if (outcome === 'busy') this.#openTurn();
    return outcome === 'done';
  }

  #release(): void {
    const released = this.#waiting;
    this.#waiting = [];
    for (const release of released) release();
  }

  #commit(): void {
    const batches = this.#buffer.take();
    const log = this.#log;
    if (log === null || batches.length === 0) return;
    try {
      for (const batch of batches) {
        log.write(batch, BatchType.RECORDS);
        this.counters.batches += 1;
        this.counters.byteCount += batch.length;
        this.#unsyncedByteCount += batch.length;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#options.syncPeriodMs > 0) this.#snapshotIfFull();
  }

  #snapshotIfFull(): void {
    const limit = Math.max(this.#options.snapshotByteCount, 2 * this.#lastSnapshotByteCount);
    if (this.#log !== null && this.#log.byteCount >= limit && this.#snapshot === null) {
      this.#takeSnapshot();
    }
  }

  async #sync(): Promise<void> {
    const log = this.#log;
    if (log === null || this.#unsyncedByteCount === 0) return;
    this.#unsyncedByteCount = 0;
    try {
      await log.file.sync();
      this.counters.syncs += 1;
    } catch (error) {
      if (this.#log === log) this.#fail(error);
    }
  }

  #openLog(isFirst: boolean): void {
    const { directory, open, random, syncPeriodMs, bootId } = this.#options;
    const generation = this.#generation;
    const head = { kind: FileKind.LOG, tag: random.uint32(), generation };
    const log = new BatchWriter(open, directory.logPath(generation), head, this.#nextSequence);
    const start: LogStart = { bootId, isSynced: syncPeriodMs === 0, isFirst };
    try {
      log.writeJson(start, BatchType.START);
    } catch (error) {
      log.file.close();
      throw error;
    }
    this.#log = log;
  }

  /** From here on, changes go to a new log; what was before is written down beside it, bit by bit. */
  #takeSnapshot(): void {
    const { directory, open, random, clock, logger } = this.#options;
    const image = this.#image;
    const before = this.#log;
    if (image === null) return;
    this.#generation += 1;
    const generation = this.#generation;
    try {
      if (before !== null) this.#nextSequence = before.nextSequence;
      this.#alone(() => this.#openLog(false));
    } catch (error) {
      this.#generation -= 1;
      if (!Fault.has(error, 'CANCELLED')) this.#fail(error);
      return;
    }
    // Its last bytes must not be lost when later ones are safe.
    void before?.file
      .sync()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => before.file.close());
    const startedMs = clock.monotonicMs();
    const run = new SnapshotRun({
      open,
      path: directory.unfinishedSnapshotPath(generation),
      head: { kind: FileKind.SNAPSHOT, tag: random.uint32(), generation },
      clock,
    });
    this.#snapshot = run;
    run
      .write(image())
      .then((byteCount) => {
        if (byteCount === null || this.#snapshot !== run) return;
        this.#alone(() => {
          renameSync(
            directory.unfinishedSnapshotPath(generation),
            directory.snapshotPath(generation),
          );
          syncDirectory(directory.path);
          directory.removeBefore(generation);
        });
        this.#isWhole = true;
        this.#lastSnapshotByteCount = byteCount;
        this.counters.snapshots += 1;
        this.counters.lastSnapshotMs = clock.monotonicMs() - startedMs;
        logger.info('journal.snapshot', {
          generation,
          bytes: byteCount,
          ms: Math.round(this.counters.lastSnapshotMs),
        });
      })
      .catch((error: unknown) => this.#snapshotFailed(error, generation, run))
      .finally(() => {
        if (this.#snapshot === run) this.#snapshot = null;
      });
  }

  /** The snapshots and logs before it still tell everything, if they did. */
  #snapshotFailed(error: unknown, generation: number, run: SnapshotRun): void {
    if (this.#snapshot !== run) return;
    if (!this.#isWhole) {
      this.#fail(error);
      return;
    }
    const { directory, logger } = this.#options;
    this.counters.failures += 1;
    // Not again before the log has grown as much.
    this.#lastSnapshotByteCount = Math.max(this.#lastSnapshotByteCount * 2, 2 ** 20);
    logger.warn('journal.snapshot-failed', { reason: (error as Error).message });
    try {
      unlinkSync(directory.unfinishedSnapshotPath(generation));
    } catch {
      // It was not even created.
    }
  }

  /** Files are made, named and removed only while no other master can be at them. */
  #alone(act: () => void): void {
    const outcome = this.#options.fence?.guard(act);
    if (outcome === undefined) act();
    else if (outcome !== 'done') {
      throw new Fault('CANCELLED', `the journal is another master's by now (${outcome})`);
    }
  }

  #fail(error: unknown): void {
    const { directory, clock, logger } = this.#options;
    this.counters.failures += 1;
    const wasWhole = this.#isWhole;
    this.#isWhole = false;
    this.#snapshot?.cancel();
    this.#snapshot = null;
    this.#log?.file.close();
    this.#log = null;
    this.#unsyncedByteCount = 0;
    const reason = (error as Error).message;
    if (wasWhole) logger.error('journal.failed', { reason, consequence: 'going on without it' });
    try {
      this.#alone(() => directory.removeAll());
    } catch (removal) {
      logger.error('journal.not-removed', {
        reason: (removal as Error).message,
        remedy: `remove ${directory.path} before this master is started again`,
      });
    }
    this.#retry?.cancel();
    this.#retry = clock.schedule(retryPeriodMs, () => {
      this.#takeSnapshot();
      if (this.#log !== null) logger.info('journal.resumed', { generation: this.#generation });
    });
  }
}
