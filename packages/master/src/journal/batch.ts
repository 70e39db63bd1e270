import { crc32 } from 'node:zlib';
import { Fault } from '@tsukimi/base';

/**
 * A journal file: 24 bytes that say what it is, then batches. A batch is written with one call, and
 * either all of it counts or nothing. Integers are little-endian.
 *
 * Head: `TSUKIJNL`, u16 version, u16 kind of file, u32 tag, u32 generation, u32 CRC-32 of the 20 bytes
 * before. Batch: magic, u32 bytes of payload, u32 CRC-32 of the payload, u64 sequence, u32 type, u32
 * CRC-32 of the 24 bytes before, then the payload. The CRC of a batch's head starts from the tag, which
 * chance gave the file, so that nothing a client may write into a key looks like a batch.
 */
export const fileHeadByteCount = 24;
export const batchHeadByteCount = 28;
/** Batches are cut at about a quarter of this; whatever claims more is damaged. */
export const payloadByteCountMax = 16 * 2 ** 20;

const fileMagic = 'TSUKIJNL';
const version = 1;
export const batchMagic = 'TSKB';

export const FileKind = { LOG: 1, SNAPSHOT: 2 } as const;
export type FileKind = (typeof FileKind)[keyof typeof FileKind];

/** What a batch holds: how the file began, records, or the end of a file that was finished. */
export const BatchType = { START: 1, RECORDS: 2, END: 3 } as const;
export type BatchType = (typeof BatchType)[keyof typeof BatchType];

export interface FileHead {
  readonly kind: FileKind;
  readonly tag: number;
  readonly generation: number;
}

export interface BatchHead {
  readonly payloadByteCount: number;
  readonly payloadCrc: number;
  readonly sequence: number;
  readonly type: BatchType;
}

export function encodeFileHead({ kind, tag, generation }: FileHead): Buffer {
  const head = Buffer.alloc(fileHeadByteCount);
  head.write(fileMagic, 'latin1');
  head.writeUInt16LE(version, 8);
  head.writeUInt16LE(kind, 10);
  head.writeUInt32LE(tag, 12);
  head.writeUInt32LE(generation, 16);
  head.writeUInt32LE(crc32(head.subarray(0, 20)), 20);
  return head;
}

/** Null when these bytes are no head of ours. A head of a newer version is an `UNSUPPORTED` fault. */
export function decodeFileHead(head: Buffer): FileHead | null {
  if (head.length < fileHeadByteCount || head.toString('latin1', 0, 8) !== fileMagic) return null;
  if (head.readUInt32LE(20) !== crc32(head.subarray(0, 20))) return null;
  if (head.readUInt16LE(8) !== version) {
    throw new Fault('UNSUPPORTED', `journal format ${head.readUInt16LE(8)} is not ${version}`);
  }
  const kind = head.readUInt16LE(10) === FileKind.LOG ? FileKind.LOG : FileKind.SNAPSHOT;
  return { kind, tag: head.readUInt32LE(12), generation: head.readUInt32LE(16) };
}

/** Fills in the head of a batch whose payload stands behind it. */
export function sealBatch(batch: Buffer, tag: number, sequence: number, type: BatchType): void {
  const payload = batch.subarray(batchHeadByteCount);
  batch.write(batchMagic, 'latin1');
  batch.writeUInt32LE(payload.length, 4);
  batch.writeUInt32LE(crc32(payload), 8);
  batch.writeBigUInt64LE(BigInt(sequence), 12);
  batch.writeUInt32LE(type, 20);
  batch.writeUInt32LE(crc32(batch.subarray(0, 24), tag), 24);
}

/** The head at the start of `bytes`; null when there is none. */
export function readBatchHead(bytes: Buffer, tag: number): BatchHead | null {
  if (bytes.length < batchHeadByteCount || bytes.toString('latin1', 0, 4) !== batchMagic)
    return null;
  if (bytes.readUInt32LE(24) !== crc32(bytes.subarray(0, 24), tag)) return null;
  const payloadByteCount = bytes.readUInt32LE(4);
  const sequence = Number(bytes.readBigUInt64LE(12));
  const type = bytes.readUInt32LE(20) as BatchType;
  if (payloadByteCount > payloadByteCountMax || !Number.isSafeInteger(sequence)) return null;
  return { payloadByteCount, payloadCrc: bytes.readUInt32LE(8), sequence, type };
}
