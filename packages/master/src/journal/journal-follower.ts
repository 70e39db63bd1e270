import { BatchType } from './batch.ts';
import { type Batch, BatchReader, damaged } from './batch-reader.ts';
import type { JournalDirectory } from './journal-directory.ts';
import { JournalImage } from './journal-image.ts';
import { KnownTexts, replay } from './record.ts';

/** How a log began: the payload of its first batch, as JSON. */
export interface LogStart {
  /** Of the machine that wrote it, since its last start. */
  readonly bootId: string;
  /** Whether every batch was on the disk before its answers left. */
  readonly isSynced: boolean;
  /** Whether nothing came before: there is no snapshot of this generation. */
  readonly isFirst: boolean;
}

/** Where a journal ends. */
export interface JournalEnd {
  readonly image: JournalImage;
  /** Null: there is no journal, or only logs without a beginning. */
  readonly last: { readonly start: LogStart; readonly isClosed: boolean } | null;
  readonly nextSequence: number;
  readonly nextGeneration: number;
  /** What the death of the writer cut short, and was ignored. */
  readonly tornByteCount: number;
  readonly replayedByteCount: number;
}

/**
 * Builds the state that a journal describes, and keeps up with a master that is writing it. Damage is
 * a `MALFORMED` fault that names the file and the place.
 */
export class JournalFollower {
  readonly #directory: JournalDirectory;
  readonly #known = new KnownTexts();
  #image = new JournalImage();
  #reader: BatchReader | null = null;
  #generation = 0;
  #nextSequence = 0;
  /** Where the next log took over: whatever a master wrote here afterwards does not count. */
  #endSequence = Number.POSITIVE_INFINITY;
  #start: LogStart | null = null;
  #isClosed = false;
  #replayedByteCount = 0;

  constructor(directory: JournalDirectory) {
    this.#directory = directory;
  }

  get image(): JournalImage {
    return this.#image;
  }

  /** Reads what is there by now. A standby calls it again and again. */
  catchUp(): void {
    for (;;) {
      if (this.#reader === null && !this.#begin()) return;
      try {
        this.#readAll();
        if (!this.#goOn()) return;
      } catch (error) {
        // The master made a snapshot and removed what we were about to read.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        this.#startOver();
      }
    }
  }

  /** The last word, once nobody writes any more. */
  finish(): JournalEnd {
    this.catchUp();
    const tornByteCount = this.#reader?.tornByteCount() ?? 0;
    const start = this.#start;
    const last = start === null ? null : { start, isClosed: this.#isClosed };
    const { logs, snapshots } = {
      logs: this.#directory.logs(),
      snapshots: this.#directory.snapshots(),
    };
    this.close();
    return {
      image: this.#image,
      last,
      nextSequence: this.#nextSequence,
      nextGeneration: Math.max(0, ...logs, ...snapshots) + 1,
      tornByteCount,
      replayedByteCount: this.#replayedByteCount,
    };
  }

  close(): void {
    this.#reader?.close();
    this.#reader = null;
  }

  /** Finds the beginning; false when there is none yet. */
  #begin(): boolean {
    const snapshot = this.#directory.snapshots().at(-1) ?? 0;
    const logs = this.#directory.logs();
    const first = logs.findLast(
      (generation) => generation >= snapshot && this.#isFirst(generation),
    );
    if (first === undefined && snapshot === 0) return false;
    for (let next = first ?? snapshot; next < (logs.at(-1) ?? 0); next += 1) {
      if (!this.#directory.hasLog(next)) throw damaged(this.#directory.logPath(next), 0);
    }
    this.#image = new JournalImage();
    if (first === undefined) this.#load(snapshot);
    return this.#open(first ?? snapshot);
  }

  #isFirst(generation: number): boolean {
    const batch = this.#firstBatch(generation);
    return batch !== null && parseStart(batch.payload).isFirst;
  }

  #firstBatch(generation: number): Batch | null {
    if (!this.#directory.hasLog(generation)) return null;
    const reader = BatchReader.open(this.#directory.logPath(generation));
    const batch = reader?.next() ?? null;
    reader?.close();
    return batch?.type === BatchType.START ? batch : null;
  }

  #load(generation: number): void {
    const reader = BatchReader.open(this.#directory.snapshotPath(generation));
    if (reader === null) throw damaged(this.#directory.snapshotPath(generation), 0);
    try {
      for (;;) {
        const batch = reader.next();
        if (batch === null) throw damaged(reader.path, reader.offset);
        if (batch.type === BatchType.END) return;
        if (batch.type === BatchType.RECORDS) this.#apply(batch);
      }
    } finally {
      reader.close();
    }
  }

  /** False while the log's first batch is not there. */
  #open(generation: number): boolean {
    const reader = BatchReader.open(this.#directory.logPath(generation));
    const batch = reader?.next() ?? null;
    if (reader === null || batch === null) {
      reader?.close();
      return false;
    }
    if (batch.type !== BatchType.START) throw damaged(reader.path, 0);
    this.#reader?.close();
    this.#reader = reader;
    this.#generation = generation;
    this.#nextSequence = batch.sequence + 1;
    this.#start = parseStart(batch.payload);
    this.#endSequence = this.#firstBatch(generation + 1)?.sequence ?? Number.POSITIVE_INFINITY;
    this.#isClosed = false;
    return true;
  }

  #readAll(): void {
    const reader = this.#reader as BatchReader;
    for (let batch = reader.next(); batch !== null; batch = reader.next()) {
      if (batch.sequence >= this.#endSequence) return;
      if (batch.type === BatchType.END) this.#isClosed = true;
      else this.#apply(batch);
      this.#nextSequence = batch.sequence + 1;
    }
  }

  /** Turns to the next log, if there is one. */
  #goOn(): boolean {
    const reader = this.#reader as BatchReader;
    const generation = this.#generation + 1;
    if (!this.#directory.hasLog(generation)) {
      const newest = this.#directory.logs().at(-1) ?? 0;
      if (newest <= this.#generation) return false;
      // Whoever leaves numbers out has begun anew.
      this.#startOver();
      return true;
    }
    // Whoever began it had finished this one before.
    this.#readAll();
    const expected = this.#nextSequence;
    const { offset } = reader;
    if (!this.#open(generation)) return false;
    const began = this.#nextSequence - 1;
    if (this.#start?.isFirst === true || began < expected) this.#startOver();
    else if (began > expected) throw damaged(reader.path, offset);
    return true;
  }

  #apply({ payload }: Batch): void {
    this.#replayedByteCount += payload.length;
    replay(payload, this.#image, this.#known);
  }

  #startOver(): void {
    this.close();
    this.#start = null;
    this.#nextSequence = 0;
    this.#image = new JournalImage();
  }
}

function parseStart(payload: Buffer): LogStart {
  const { bootId, isSynced, isFirst } = JSON.parse(payload.toString('utf8')) as LogStart;
  return { bootId, isSynced, isFirst };
}
