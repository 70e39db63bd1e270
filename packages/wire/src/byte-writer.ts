import { assert } from '@tsukimi/base';

const initialByteCount = 4_096;
/** A writer that grew beyond this gives its memory away with the message. */
const keptByteCountMax = 256 * 1_024;
/** Up to this length a loop over the characters is quicker than a call into C++. */
const shortTextLength = 24;
const utf8ByteCountMax = 3;

/** How many bytes every container length of a message takes. */
export type LengthWidth = 1 | 2 | 4;

/** A growing buffer with a position. One is kept and reused for many messages. */
export class ByteWriter {
  #bytes!: Buffer;
  #view!: DataView;
  position = 0;
  lengthWidth: LengthWidth = 1;
  /** The largest element count written since it was last set to 0; decides the width. */
  largestCount = 0;

  constructor() {
    this.#use(Buffer.allocUnsafeSlow(initialByteCount));
  }

  u8(value: number): void {
    const at = this.#advance(1);
    this.#view.setUint8(at, value);
  }

  u16(value: number): void {
    const at = this.#advance(2);
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.#advance(4);
    this.#view.setUint32(at, value, true);
  }

  i32(value: number): void {
    const at = this.#advance(4);
    this.#view.setInt32(at, value, true);
  }

  u64(value: bigint): void {
    const at = this.#advance(8);
    this.#view.setBigUint64(at, value, true);
  }

  i64(value: bigint): void {
    const at = this.#advance(8);
    this.#view.setBigInt64(at, value, true);
  }

  /** A u64 that fits into a double: two halves are quicker than a bigint. */
  size(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, 'a size is a safe integer');
    const at = this.#advance(8);
    this.#view.setUint32(at, value >>> 0, true);
    this.#view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
  }

  /** A container length. A count too large for the width is written anyhow: the message is written again. */
  length(count: number): void {
    if (count > this.largestCount) this.largestCount = count;
    if (this.lengthWidth === 1) this.u8(count & 0xff);
    else if (this.lengthWidth === 2) this.u16(count & 0xffff);
    else this.u32(count);
  }

  /** Length and UTF-8 bytes. */
  text(value: string, byteCountMax: number): void {
    assert(value.length <= byteCountMax, 'a text is no longer than its codec allows');
    if (value.length <= shortTextLength && this.#shortAscii(value)) return;
    const start = this.position;
    // The length is not known yet: room for it, the text, then the length in its place.
    const at = start + this.lengthWidth;
    this.#advance(this.lengthWidth + value.length * utf8ByteCountMax);
    const byteCount = this.#bytes.write(value, at);
    assert(byteCount <= byteCountMax, 'a text is no longer than its codec allows');
    // A lone half of a character has no bytes of its own, so two texts would become one.
    assert(
      byteCount === value.length || !/\p{Surrogate}/u.test(value),
      'a text is made of whole characters',
    );
    this.position = start;
    this.length(byteCount);
    this.position = at + byteCount;
  }

  raw(bytes: Uint8Array): void {
    const at = this.#advance(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** Overwrites a u32 written earlier. */
  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** What was written, for the caller to keep; the writer is empty afterwards. */
  take(): Buffer {
    const written = this.#bytes.subarray(0, this.position);
    this.position = 0;
    if (this.#bytes.length <= keptByteCountMax) return Buffer.from(written);
    this.#use(Buffer.allocUnsafeSlow(initialByteCount));
    return written;
  }

  /** False, with nothing written, when a character takes more than one byte. */
  #shortAscii(value: string): boolean {
    const start = this.position;
    this.length(value.length);
    const at = this.#advance(value.length);
    const bytes = this.#bytes;
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) {
        this.position = start;
        return false;
      }
      bytes[at + index] = code;
    }
    return true;
  }

  /** Where the next bytes go. Call it before touching the buffer, which it may replace. */
  #advance(byteCount: number): number {
    const at = this.position;
    this.position = at + byteCount;
    if (this.position > this.#bytes.length) this.#grow(at);
    return at;
  }

  #grow(writtenByteCount: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.position));
    this.#bytes.copy(grown, 0, 0, writtenByteCount);
    this.#use(grown);
  }

  #use(bytes: Buffer): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
}
