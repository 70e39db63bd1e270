import { readFileSync } from 'node:fs';
import { type Clock, Fault, type Logger, type Service } from '@tsukimi/base';
import { DirectoryLock } from '@tsukimi/transfer';
import type { MasterCore } from '../core/master-core.ts';
import { JournalClaim } from '../standby/journal-claim.ts';
import type { Journal } from './journal.ts';
import type { JournalDirectory } from './journal-directory.ts';
import { type JournalEnd, JournalFollower } from './journal-follower.ts';
import { JournalImage } from './journal-image.ts';

export interface JournalKeeperOptions {
  readonly directory: JournalDirectory;
  readonly journal: Journal;
  readonly core: MasterCore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Brings a core back to where its journal ends, before anybody asks it anything, and goes on writing. */
export class JournalKeeper implements Service {
  readonly name = 'journal (--journal-dir)';
  readonly #options: JournalKeeperOptions;
  #lock: DirectoryLock | null = null;

  constructor(options: JournalKeeperOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { directory, journal, core, clock, logger } = this.#options;
    directory.create();
    if (JournalClaim.exists(directory.path)) {
      throw new Fault(
        'MISCONFIGURED',
        `--journal-dir ${directory.path} belongs to masters with --enable_ha; when they are gone for good, remove ${directory.path}/claim`,
      );
    }
    this.#lock = DirectoryLock.take(directory.path, '--journal-dir');
    try {
      const startedMs = clock.monotonicMs();
      const end = trusted(new JournalFollower(directory).finish(), bootId(), logger);
      core.restore(end.image);
      journal.begin(end, () => core.image());
      if (end.last === null) directory.removeBefore(end.nextGeneration);
      logger.info('journal.recovered', {
        objects: core.objectCount,
        segments: end.image.mountCount,
        bytes: end.replayedByteCount,
        ms: Math.round(clock.monotonicMs() - startedMs),
      });
      await journal.start();
    } catch (error) {
      this.#lock.release();
      throw error;
    }
  }

  ended(): Promise<void> {
    return this.#options.journal.ended();
  }

  async stop(): Promise<void> {
    await this.#options.journal.stop();
    this.#lock?.release();
    this.#lock = null;
  }
}

/**
 * What may be believed of a journal. After the machine itself went down, the end of a log that was not
 * synced batch by batch may be missing; then objects in it may have lost their bytes to others since, and
 * none of it may be shown to readers.
 */
export function trusted(end: JournalEnd, ownBootId: string, logger: Logger): JournalEnd {
  const { last, image, tornByteCount } = end;
  if (tornByteCount > 0) logger.warn('journal.torn-end-ignored', { bytes: tornByteCount });
  if (last === null || last.isClosed || last.start.isSynced) return end;
  if (last.start.bootId === ownBootId) return end;
  logger.warn('journal.not-trusted', {
    objects: image.objectCount,
    reason: 'the machine went down, or is another, and the end of the journal may be missing',
    remedy: '--journal-sync always keeps objects through that too',
  });
  return { ...end, image: new JournalImage(), last: null };
}

/** Changes when the machine starts. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
