import { ByteWriter } from '@tsukimi/wire';
import type { ChangeLog } from '../core/change-log.ts';
import {
  type BatchType,
  batchHeadByteCount,
  encodeFileHead,
  type FileKind,
  payloadByteCountMax,
  sealBatch,
} from './batch.ts';
import type { JournalFile, OpenJournalFile } from './journal-file.ts';
import { RecordWriter } from './record.ts';

/** From this size on, what was gathered becomes a batch of its own. */
const fullByteCount = payloadByteCountMax / 4;

/** Gathers records until they are to be a batch. */
export class RecordBuffer {
  readonly #out = new ByteWriter();
  readonly records: ChangeLog;
  #full: Buffer[] = [];

  constructor() {
    this.#out.position = batchHeadByteCount;
    this.records = new RecordWriter(this.#out, () => {
      if (this.#out.position >= fullByteCount) this.#full.push(this.#takeOne());
    });
  }

  get isEmpty(): boolean {
    return this.#out.position === batchHeadByteCount && this.#full.length === 0;
  }

  /** Batches without heads yet, in order; nothing is left here. */
  take(): readonly Buffer[] {
    const taken = this.#full;
    this.#full = [];
    if (this.#out.position > batchHeadByteCount) taken.push(this.#takeOne());
    return taken;
  }

  #takeOne(): Buffer {
    const batch = this.#out.take();
    this.#out.position = batchHeadByteCount;
    return batch;
  }
}

/** Writes batches into a new file. */
export class BatchWriter {
  readonly file: JournalFile;
  readonly #tag: number;
  #nextSequence: number;
  #byteCount = 0;

  constructor(
    open: OpenJournalFile,
    path: string,
    head: { readonly kind: FileKind; readonly tag: number; readonly generation: number },
    firstSequence: number,
  ) {
    this.file = open(path);
    this.#tag = head.tag;
    this.#nextSequence = firstSequence;
    this.#append(encodeFileHead(head));
  }

  get nextSequence(): number {
    return this.#nextSequence;
  }

  get byteCount(): number {
    return this.#byteCount;
  }

  /** Writes a batch with room for its head in front. */
  write(batch: Buffer, type: BatchType): void {
    sealBatch(batch, this.#tag, this.#nextSequence, type);
    this.#append(batch);
    this.#nextSequence += 1;
  }

  /** Writes a batch of JSON; null for nothing. */
  writeJson(value: unknown, type: BatchType): void {
    const payload = value === null ? Buffer.alloc(0) : Buffer.from(JSON.stringify(value));
    this.write(Buffer.concat([Buffer.alloc(batchHeadByteCount), payload]), type);
  }

  #append(bytes: Buffer): void {
    this.file.append(bytes);
    this.#byteCount += bytes.length;
  }
}
