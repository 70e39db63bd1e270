import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { assert } from '@tsukimi/base';

/**
 * Bytes before the payload of a stored chunk, little-endian:
 *
 * | offset | size | field                        |
 * | ------ | ---- | ---------------------------- |
 * | 0      | 4    | magic `TKVC`                 |
 * | 4      | 4    | version, 1                   |
 * | 8      | 32   | SHA-256 of the key           |
 * | 40     | 4    | cells                        |
 * | 44     | 4    | zero                         |
 * | 48     | 8    | payload bytes                |
 * | 56     | 4    | CRC-32 of the payload        |
 * | 60     | 4    | CRC-32 of the 60 bytes above |
 */
export const chunkHeaderByteCount = 64;

const magic = 0x43_56_4b_54;
const version = 1;

/** Completes a chunk whose payload already lies behind the room for the header. */
export function sealChunk(chunk: Buffer, key: string, cells: number): void {
  assert(chunk.length >= chunkHeaderByteCount, 'a chunk has room for its header');
  const payload = chunk.subarray(chunkHeaderByteCount);
  chunk.writeUInt32LE(magic, 0);
  chunk.writeUInt32LE(version, 4);
  createHash('sha256').update(key).digest().copy(chunk, 8);
  chunk.writeUInt32LE(cells, 40);
  chunk.writeUInt32LE(0, 44);
  chunk.writeBigUInt64LE(BigInt(payload.length), 48);
  chunk.writeUInt32LE(crc32(payload), 56);
  chunk.writeUInt32LE(crc32(chunk.subarray(0, 60)), 60);
}

export type ChunkFlaw = 'header' | 'version' | 'key' | 'cells' | 'length' | 'checksum';

/** What is wrong with a chunk read for `key`, or null. Call it on a copy that nobody else can write to. */
export function findChunkFlaw(chunk: Buffer, key: string, cells: number): ChunkFlaw | null {
  if (chunk.length < chunkHeaderByteCount || chunk.readUInt32LE(0) !== magic) return 'header';
  if (chunk.readUInt32LE(60) !== crc32(chunk.subarray(0, 60))) return 'header';
  if (chunk.readUInt32LE(4) !== version) return 'version';
  if (!createHash('sha256').update(key).digest().equals(chunk.subarray(8, 40))) return 'key';
  if (chunk.readUInt32LE(40) !== cells) return 'cells';
  const payload = chunk.subarray(chunkHeaderByteCount);
  if (chunk.readBigUInt64LE(48) !== BigInt(payload.length)) return 'length';
  return crc32(payload) === chunk.readUInt32LE(56) ? null : 'checksum';
}
