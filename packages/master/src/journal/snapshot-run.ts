import { type Clock, sleep } from '@tsukimi/base';
import type { CoreImage } from '../core/change-log.ts';
import { BatchType, type FileKind } from './batch.ts';
import { BatchWriter, RecordBuffer } from './batch-writer.ts';
import type { OpenJournalFile } from './journal-file.ts';

/** So long at most a snapshot keeps calls waiting at a time, and so long it leaves them the processor. */
const sliceMs = 1;
const pauseMs = 2;
const objectsBetweenLooks = 32;

export interface SnapshotRunOptions {
  readonly open: OpenJournalFile;
  readonly path: string;
  readonly head: {
    readonly kind: FileKind;
    readonly tag: number;
    readonly generation: number;
  };
  readonly clock: Clock;
}

/**
 * Writes an image down while it changes: each object as it is when its turn comes. Together with the
 * log of everything that changed since the beginning, that is the state at any later moment.
 */
export class SnapshotRun {
  readonly #options: SnapshotRunOptions;
  #isCancelled = false;

  constructor(options: SnapshotRunOptions) {
    this.#options = options;
  }

  cancel(): void {
    this.#isCancelled = true;
  }

  /** How many bytes there are, all on the disk; null when cancelled. */
  async write(image: CoreImage): Promise<number | null> {
    const { open, path, head, clock } = this.#options;
    const buffer = new RecordBuffer();
    // These are few, and walking through them while they change would miss some.
    for (const mount of image.mounts) buffer.records.mounted(mount);
    for (const disk of image.disks) buffer.records.diskMounted(disk);
    for (const aside of image.aside) buffer.records.setAside(aside);
    const writer = new BatchWriter(open, path, head, 0);
    try {
      let sinceMs = clock.monotonicMs();
      let count = 0;
      for (const object of image.objects) {
        buffer.records.stored(object);
        count += 1;
        if (count % objectsBetweenLooks !== 0 || clock.monotonicMs() - sinceMs < sliceMs) continue;
        writeAll(buffer, writer);
        await sleep(clock, pauseMs);
        if (this.#isCancelled) return null;
        sinceMs = clock.monotonicMs();
      }
      writeAll(buffer, writer);
      writer.writeJson(null, BatchType.END);
      await writer.file.sync();
      return this.#isCancelled ? null : writer.byteCount;
    } finally {
      writer.file.close();
    }
  }
}

function writeAll(buffer: RecordBuffer, writer: BatchWriter): void {
  for (const batch of buffer.take()) writer.write(batch, BatchType.RECORDS);
}
