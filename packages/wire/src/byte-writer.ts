import { assert } from '@tsukimi/base';

const initialByteCount = 4_096;

/** How many bytes every container length of a message takes. */
export type LengthWidth = 1 | 2 | 4;

/**
 * A growing buffer with a position. One is kept and reused for many messages: `take` hands out a
 * copy, `view` the live bytes.
 */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(initialByteCount);
  position = 0;
  lengthWidth: LengthWidth = 1;
  /** The largest element count written since it was last set to 0; decides the width. */
  largestCount = 0;

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.position++] = value;
  }

  u16(value: number): void {
    this.#reserve(2);
    this.position = this.#bytes.writeUInt16LE(value, this.position);
  }

  u32(value: number): void {
    this.#reserve(4);
    this.position = this.#bytes.writeUInt32LE(value, this.position);
  }

  i32(value: number): void {
    this.#reserve(4);
    this.position = this.#bytes.writeInt32LE(value, this.position);
  }

  u64(value: bigint): void {
    this.#reserve(8);
    this.position = this.#bytes.writeBigUInt64LE(value, this.position);
  }

  i64(value: bigint): void {
    this.#reserve(8);
    this.position = this.#bytes.writeBigInt64LE(value, this.position);
  }

  /** A u64 that fits into a double: two halves are quicker than a bigint. */
  size(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a size is a safe integer');
    this.#reserve(8);
    this.position = this.#bytes.writeUInt32LE(value % 2 ** 32, this.position);
    this.position = this.#bytes.writeUInt32LE(Math.floor(value / 2 ** 32), this.position);
  }

  /** A container length. A count too large for the width is written anyhow: the message is written again. */
  length(count: number): void {
    if (count > this.largestCount) this.largestCount = count;
    if (this.lengthWidth === 1) this.u8(count & 0xff);
    else if (this.lengthWidth === 2) this.u16(count & 0xffff);
    else this.u32(count);
  }

  text(value: string): void {
    const byteCount = Buffer.byteLength(value);
    this.length(byteCount);
    this.#reserve(byteCount);
    this.position += this.#bytes.write(value, this.position);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.position);
    this.position += bytes.length;
  }

  /** Overwrites a u32 written earlier. */
  patchU32(at: number, value: number): void {
    this.#bytes.writeUInt32LE(value, at);
  }

  /** The bytes so far; valid until the next write. */
  view(from = 0): Buffer {
    return this.#bytes.subarray(from, this.position);
  }

  /** A copy of the bytes so far; the writer is empty afterwards. */
  take(): Buffer {
    const taken = Buffer.from(this.view());
    this.position = 0;
    return taken;
  }

  #reserve(byteCount: number): void {
    if (this.position + byteCount <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.position + byteCount));
    this.#bytes.copy(grown, 0, 0, this.position);
    this.#bytes = grown;
  }
}
