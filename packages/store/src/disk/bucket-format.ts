import { crc32 } from 'node:zlib';
import type { NewObject } from '../core/disk-index.ts';

/**
 * A bucket's file, little-endian: head, table, then the bytes of its objects without gaps.
 *
 * | offset | size | field                            |
 * | ------ | ---- | -------------------------------- |
 * | 0      | 4    | magic `TKDB`                     |
 * | 4      | 4    | version, 1                       |
 * | 8      | 8    | id of the bucket, as in its name |
 * | 16     | 4    | objects                          |
 * | 20     | 4    | bytes of the table               |
 * | 24     | 8    | bytes of the file                |
 * | 32     | 4    | CRC-32 of the table              |
 * | 36     | 8    | zero                             |
 * | 44     | 4    | CRC-32 of the 44 bytes above     |
 * | 48     |      | table: for each object, in order |
 *
 * | offset | size | field                                                |
 * | ------ | ---- | ---------------------------------------------------- |
 * | 0      | 4    | bytes of the key                                     |
 * | 4      | 4    | CRC-32 of its bytes, started with that of the key    |
 * | 8      | 8    | bytes of the object                                  |
 * | 16     |      | key, UTF-8: the tenant, a zero byte, the tenant's key |
 *
 * The file is written under the name `<id>.tmp` and renamed to `<id>.bucket`, id in 16 hex digits, once all
 * of it is written. What a crash tears is recognised by its name, its length or a checksum.
 */
export const headByteCount = 48;
const tableByteCountMax = 16 * 2 ** 20;
const magic = 0x42444b54;
const version = 1;
const recordByteCount = 16;

export interface ObjectToWrite {
  readonly key: string;
  readonly byteCount: number;
  readonly crc: number;
}

export interface BucketHead {
  /** Head and table. */
  readonly bytes: Buffer;
  readonly objects: readonly NewObject[];
  /** Of the whole file. */
  readonly byteCount: number;
}

/** Bytes of a file with these objects in it. */
export function bucketByteCount(
  objects: readonly { readonly key: string; readonly byteCount: number }[],
): number {
  return objects.reduce(
    (sum, { key, byteCount }) => sum + recordByteCount + Buffer.byteLength(key) + byteCount,
    headByteCount,
  );
}

export function writeBucketHead(id: number, objects: readonly ObjectToWrite[]): BucketHead {
  const byteCount = bucketByteCount(objects);
  const dataByteCount = objects.reduce((sum, object) => sum + object.byteCount, 0);
  const bytes = Buffer.alloc(byteCount - dataByteCount);
  let at = headByteCount;
  let offset = bytes.length;
  const placed = objects.map(({ key, byteCount: size, crc }): NewObject => {
    const keyByteCount = bytes.write(key, at + recordByteCount);
    bytes.writeUInt32LE(keyByteCount, at);
    bytes.writeUInt32LE(crc, at + 4);
    bytes.writeBigUInt64LE(BigInt(size), at + 8);
    at += recordByteCount + keyByteCount;
    const object = { key, offset, byteCount: size, crc };
    offset += size;
    return object;
  });
  bytes.writeUInt32LE(magic, 0);
  bytes.writeUInt32LE(version, 4);
  bytes.writeBigUInt64LE(BigInt(id), 8);
  bytes.writeUInt32LE(objects.length, 16);
  bytes.writeUInt32LE(bytes.length - headByteCount, 20);
  bytes.writeBigUInt64LE(BigInt(byteCount), 24);
  bytes.writeUInt32LE(crc32(bytes.subarray(headByteCount)), 32);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 44)), 44);
  return { bytes, objects: placed, byteCount };
}

/** Bytes of the table that follows; null for the head of no bucket, or of another or a torn one. */
export function tableByteCountOf(head: Buffer, id: number, fileByteCount: number): number | null {
  if (head.length !== headByteCount || head.readUInt32LE(0) !== magic) return null;
  if (head.readUInt32LE(44) !== crc32(head.subarray(0, 44))) return null;
  if (head.readUInt32LE(4) !== version || head.readBigUInt64LE(8) !== BigInt(id)) return null;
  if (head.readBigUInt64LE(24) !== BigInt(fileByteCount)) return null;
  const tableByteCount = head.readUInt32LE(20);
  const isPossible =
    tableByteCount <= tableByteCountMax && headByteCount + tableByteCount <= fileByteCount;
  return isPossible ? tableByteCount : null;
}

/** The objects of a bucket whose head was good; null for a damaged table. */
export function readBucketTable(
  head: Buffer,
  table: Buffer,
  fileByteCount: number,
): readonly NewObject[] | null {
  if (crc32(table) !== head.readUInt32LE(32)) return null;
  const objects: NewObject[] = [];
  let at = 0;
  let offset = headByteCount + table.length;
  for (let left = head.readUInt32LE(16); left > 0; left--) {
    if (at + recordByteCount > table.length) return null;
    const keyEnd = at + recordByteCount + table.readUInt32LE(at);
    const byteCount = Number(table.readBigUInt64LE(at + 8));
    if (keyEnd > table.length || offset + byteCount > fileByteCount) return null;
    const key = table.toString('utf8', at + recordByteCount, keyEnd);
    objects.push({ key, offset, byteCount, crc: table.readUInt32LE(at + 4) });
    at = keyEnd;
    offset += byteCount;
  }
  return at === table.length && offset === fileByteCount && objects.length > 0 ? objects : null;
}

export function bucketFileName(id: number, suffix: 'bucket' | 'tmp' = 'bucket'): string {
  return `${id.toString(16).padStart(16, '0')}.${suffix}`;
}

/** Null for what is no name of ours. */
export function parseBucketFileName(
  name: string,
): { readonly id: number; readonly isWhole: boolean } | null {
  const match = /^([0-9a-f]{16})\.(bucket|tmp)$/.exec(name);
  const id = Number.parseInt(match?.[1] ?? '', 16);
  return match !== null && id > 0 && Number.isSafeInteger(id)
    ? { id, isWhole: match[2] === 'bucket' }
    : null;
}

/** After so many bytes others get their turn: about 1 ms. */
const turnByteCount = 4 * 2 ** 20;

/** What a bucket's table says of an object's bytes: they are those of this key, and undamaged. */
export async function objectCrc(key: string, bytes: Buffer): Promise<number> {
  let crc = crc32(key);
  for (let at = 0; at < bytes.length; at += turnByteCount) {
    if (at > 0) await new Promise((resolve) => setImmediate(resolve));
    crc = crc32(bytes.subarray(at, at + turnByteCount), crc);
  }
  return crc;
}
