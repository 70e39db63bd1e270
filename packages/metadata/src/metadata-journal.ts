import { closeSync, mkdirSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type Clock, Fault, type Logger, type Scheduled } from '@tsukimi/base';
import type { MetadataLimits } from './metadata-table.ts';

/**
 * The changes of a metadata server in a file, so that a restart forgets nothing. After eight bytes of
 * magic come records, little-endian: u32 CRC-32 of the rest, u32 bytes of the key, u32 bytes of the value
 * (2^32 - 1: the key was removed), key, value. What follows the first broken record was never confirmed.
 */
const magicText = 'TKMETA1\n';
const magic = Buffer.from(magicText);
const headByteCount = 12;
const removedMark = 2 ** 32 - 1;
/** A journal is written anew when it is this long and twice as long as what it says. */
const compactByteCountMin = 2 ** 20;
/** A disk that has failed is left alone for so long, then tried again. */
const failurePauseMs = 1_000;

export interface MetadataJournalOptions {
  readonly directory: string;
  readonly limits: MetadataLimits;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What is true now. */
  readonly entries: () => Iterable<readonly [string, Buffer]>;
}

export class MetadataJournal {
  readonly #options: MetadataJournalOptions;
  readonly #path: string;
  #file: FileHandle | null = null;
  #fileByteCount = 0;
  #compactAtByteCount = compactByteCountMin;
  #pending: Buffer[] = [];
  #writing: Promise<void> | null = null;
  #failedAtMs: number | null = null;
  #retry: Scheduled | null = null;

  constructor(options: MetadataJournalOptions) {
    this.#options = options;
    this.#path = join(options.directory, 'metadata.journal');
  }

  /** Tells `apply` all changes of former runs (null: removed), in order. Throws `MISCONFIGURED`. */
  replay(apply: (key: string, value: Buffer | null) => void): void {
    const { directory, limits, logger } = this.#options;
    let descriptor: number;
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      descriptor = openSync(this.#path, 'a+', 0o600);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new Fault('MISCONFIGURED', `data directory: ${this.#path} cannot be opened (${code})`, {
        cause: error,
      });
    }
    try {
      const reader = new RecordReader(descriptor, limits);
      const head = reader.take(magic.length);
      if (head.length > 0 && !head.equals(magic.subarray(0, head.length))) {
        throw new Fault('MISCONFIGURED', `data directory: ${this.#path} is no metadata journal`);
      }
      let recordCount = 0;
      for (let record = reader.next(); record !== null; record = reader.next()) {
        apply(record.key, record.value);
        recordCount += 1;
      }
      const fields = { records: recordCount, path: this.#path };
      if (reader.isBroken) logger.warn('metadata.journal-cut', fields);
      else logger.info('metadata.journal-read', fields);
    } finally {
      closeSync(descriptor);
    }
  }

  /** Begins to write, with what is true now. */
  async start(): Promise<void> {
    await this.#flush();
  }

  /**
   * Resolves when the change is on disk. A disk that fails costs persistence, not service: the change then
   * stays in memory, and everything is written once the disk works again.
   */
  async append(key: string, value: Buffer | null): Promise<void> {
    this.#pending.push(encodeRecord(key, value));
    // A write that is under way may have left before this record came.
    if (this.#writing !== null) await this.#writing;
    if (this.#pending.length > 0) await this.#flush();
    else await this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing;
    this.#retry?.cancel();
    await this.#file?.close().catch(() => {});
    this.#file = null;
  }

  #flush(): Promise<void> {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = null;
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    const records = this.#pending;
    this.#pending = [];
    const { clock, logger } = this.#options;
    try {
      if (this.#failedAtMs !== null && clock.monotonicMs() < this.#failedAtMs + failurePauseMs)
        return;
      if (this.#file === null || this.#fileByteCount >= this.#compactAtByteCount) {
        await this.#rewrite();
      } else {
        const bytes = Buffer.concat(records);
        await this.#file.appendFile(bytes);
        await this.#file.datasync();
        this.#fileByteCount += bytes.length;
      }
      if (this.#failedAtMs !== null) logger.info('metadata.journal-works-again');
      this.#failedAtMs = null;
    } catch (error) {
      if (this.#failedAtMs === null) {
        logger.error('metadata.journal-failed', { reason: (error as Error).message });
      }
      this.#failedAtMs = clock.monotonicMs();
      this.#retry?.cancel();
      this.#retry = clock.schedule(failurePauseMs, () => void this.#flush());
      await this.#file?.close().catch(() => {});
      this.#file = null;
    }
  }

  /** Everything into a new file, which takes the old one's place once it is whole. */
  async #rewrite(): Promise<void> {
    const next = `${this.#path}.new`;
    const bytes = Buffer.concat([
      magic,
      ...Array.from(this.#options.entries(), ([key, value]) => encodeRecord(key, value)),
    ]);
    let file: FileHandle;
    try {
      file = await writeWhole(next, bytes);
    } catch (error) {
      // On a full disk the old journal may be what keeps the new one out.
      const isFull = (error as NodeJS.ErrnoException).code === 'ENOSPC';
      const isInTheWay = isFull && (await byteCountOf(this.#path)) >= bytes.length;
      if (!isInTheWay) throw error;
      await this.#file?.close().catch(() => {});
      this.#file = null;
      await rm(this.#path);
      file = await writeWhole(next, bytes);
    }
    try {
      await rename(next, this.#path);
      await syncDirectory(this.#options.directory);
    } catch (error) {
      await file.close().catch(() => {});
      throw error;
    }
    await this.#file?.close().catch(() => {});
    this.#file = file;
    this.#fileByteCount = bytes.length;
    this.#compactAtByteCount = Math.max(compactByteCountMin, 2 * bytes.length);
  }
}

/** Reads a journal from its beginning, a megabyte at a time. */
class RecordReader {
  readonly #descriptor: number;
  readonly #limits: MetadataLimits;
  #buffered = Buffer.alloc(0);
  /** Whether the journal ends in the middle of a record, or with one that is damaged. */
  isBroken = false;

  constructor(descriptor: number, limits: MetadataLimits) {
    this.#descriptor = descriptor;
    this.#limits = limits;
  }

  /** The next `byteCount` bytes, or the fewer that are left. */
  take(byteCount: number): Buffer {
    while (this.#buffered.length < byteCount) {
      const chunk = Buffer.alloc(2 ** 20);
      const readCount = readSync(this.#descriptor, chunk, 0, chunk.length, null);
      if (readCount === 0) break;
      this.#buffered = Buffer.concat([this.#buffered, chunk.subarray(0, readCount)]);
    }
    const taken = this.#buffered.subarray(0, byteCount);
    this.#buffered = this.#buffered.subarray(taken.length);
    return taken;
  }

  next(): { readonly key: string; readonly value: Buffer | null } | null {
    const head = Buffer.from(this.take(headByteCount));
    if (head.length === 0) return null;
    this.isBroken = true;
    if (head.length < headByteCount) return null;
    const keyByteCount = head.readUInt32LE(4);
    const mark = head.readUInt32LE(8);
    const valueByteCount = mark === removedMark ? 0 : mark;
    const { keyBytesMax, totalBytesMax } = this.#limits;
    if (keyByteCount > keyBytesMax || valueByteCount > totalBytesMax) return null;
    const body = this.take(keyByteCount + valueByteCount);
    if (body.length < keyByteCount + valueByteCount) return null;
    if (crc32(body, crc32(head.subarray(4))) !== head.readUInt32LE(0)) return null;
    this.isBroken = false;
    return {
      key: body.toString('utf8', 0, keyByteCount),
      value: mark === removedMark ? null : Buffer.from(body.subarray(keyByteCount)),
    };
  }
}

function encodeRecord(key: string, value: Buffer | null): Buffer {
  const keyBytes = Buffer.from(key);
  const head = Buffer.alloc(headByteCount);
  head.writeUInt32LE(keyBytes.length, 4);
  head.writeUInt32LE(value === null ? removedMark : value.length, 8);
  const record = Buffer.concat(value === null ? [head, keyBytes] : [head, keyBytes, value]);
  record.writeUInt32LE(crc32(record.subarray(4)), 0);
  return record;
}

/** A file with these bytes on disk, or none. */
async function writeWhole(path: string, bytes: Buffer): Promise<FileHandle> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
    return file;
  } catch (error) {
    await file.close().catch(() => {});
    await rm(path, { force: true }).catch(() => {});
    throw error;
  }
}

async function byteCountOf(path: string): Promise<number> {
  return (await stat(path).catch(() => ({ size: 0 }))).size;
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
