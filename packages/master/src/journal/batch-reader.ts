import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { Fault } from '@tsukimi/base';
import {
  type BatchHead,
  type BatchType,
  batchHeadByteCount,
  batchMagic,
  decodeFileHead,
  type FileHead,
  fileHeadByteCount,
  readBatchHead,
} from './batch.ts';

export interface Batch {
  readonly type: BatchType;
  readonly sequence: number;
  readonly payload: Buffer;
}

const windowByteCount = 2 ** 20;

/**
 * Reads the batches of a file in order, also of one that is still being written: what is not there
 * completely is not there yet.
 */
export class BatchReader {
  readonly path: string;
  readonly head: FileHead;
  readonly #descriptor: number;
  #window: Buffer = Buffer.alloc(0);
  /** Where in the file the window begins. */
  #windowStart = 0;
  #offset = fileHeadByteCount;
  #nextSequence: number | null = null;

  private constructor(path: string, descriptor: number, head: FileHead) {
    this.path = path;
    this.#descriptor = descriptor;
    this.head = head;
  }

  /** Null for a file that ends before its head does: its writer died while it created it. */
  static open(path: string): BatchReader | null {
    const descriptor = openSync(path, 'r');
    try {
      const bytes = Buffer.alloc(fileHeadByteCount);
      const byteCount = readSync(descriptor, bytes, 0, fileHeadByteCount, 0);
      if (byteCount < fileHeadByteCount) {
        closeSync(descriptor);
        return null;
      }
      const head = decodeFileHead(bytes);
      if (head === null) throw damaged(path, 0);
      return new BatchReader(path, descriptor, head);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  /** Where the next batch begins. */
  get offset(): number {
    return this.#offset;
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** The payload is only good until the next call. Null when no whole batch follows. */
  next(): Batch | null {
    const head = this.#headAt(this.#offset);
    if (head === null || (this.#nextSequence !== null && head.sequence !== this.#nextSequence)) {
      return this.#nothing();
    }
    const payload = this.#bytesAt(this.#offset + batchHeadByteCount, head.payloadByteCount);
    if (payload === null || crc32(payload) !== head.payloadCrc) return this.#nothing();
    this.#offset += batchHeadByteCount + head.payloadByteCount;
    this.#nextSequence = head.sequence + 1;
    return { type: head.type, sequence: head.sequence, payload };
  }

  /**
   * Judges what follows the last whole batch of a file that nobody writes to any more. A batch that the
   * writer's death cut short is the last thing in its file: then the bytes that are not a batch are
   * given, to be ignored. Anything else is damage: `MALFORMED`, naming the file and the place.
   */
  tornByteCount(): number {
    const end = fstatSync(this.#descriptor).size;
    let at = this.#offset;
    while (at < end) {
      const bytes = this.#bytesAt(at, Math.min(windowByteCount, end - at));
      if (bytes === null) break;
      for (let found = bytes.indexOf(batchMagic, 0, 'latin1'); found !== -1; ) {
        const head = this.#headAt(at + found);
        if (
          head !== null &&
          head.sequence >= (this.#nextSequence ?? 0) &&
          found + at > this.#offset
        ) {
          throw damaged(this.path, this.#offset);
        }
        found = bytes.indexOf(batchMagic, found + 1, 'latin1');
      }
      // A magic may lie across the border.
      at += Math.max(1, bytes.length - batchMagic.length + 1);
    }
    return end - this.#offset;
  }

  #headAt(offset: number): BatchHead | null {
    const bytes = this.#bytesAt(offset, batchHeadByteCount);
    return bytes === null ? null : readBatchHead(bytes, this.head.tag);
  }

  /** What is there now may be there in part only: the next call looks again. */
  #nothing(): null {
    this.#window = Buffer.alloc(0);
    return null;
  }

  #bytesAt(offset: number, byteCount: number): Buffer | null {
    const from = offset - this.#windowStart;
    if (from >= 0 && from + byteCount <= this.#window.length) {
      return this.#window.subarray(from, from + byteCount);
    }
    const bytes = Buffer.allocUnsafeSlow(Math.max(byteCount, windowByteCount));
    let got = 0;
    while (got < bytes.length) {
      const more = readSync(this.#descriptor, bytes, got, bytes.length - got, offset + got);
      if (more === 0) break;
      got += more;
    }
    this.#windowStart = offset;
    this.#window = bytes.subarray(0, got);
    return got < byteCount ? null : bytes.subarray(0, byteCount);
  }
}

export function damaged(path: string, offset: number): Fault {
  return new Fault(
    'MALFORMED',
    `${path} is damaged at byte ${offset}; restore it, or move the journal away to start without objects`,
    { details: { path, offset } },
  );
}
