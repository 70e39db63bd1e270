import { parseFields } from './fields.ts';
import { HeadReader } from './head-reader.ts';
import { malformed } from './malformed.ts';

const cr = 0x0d;
const lf = 0x0a;
const semicolon = 0x3b;
const equals = 0x3d;

// What the next byte belongs to.
const atSize = 0;
const inSize = 1;
const inExtension = 2;
const afterSizeCr = 3;
const inData = 4;
const atDataCr = 5;
const atDataLf = 6;
const inTrailers = 7;
const ended = 8;

const sizeDigitCountMax = 8;
/** Of all chunks of one body: extensions carry nothing for us, and must cost nothing either. */
const extensionByteCountMax = 1_024;
const framingNames = ['content-length', 'transfer-encoding', 'host', 'connection'];
const trailerLimits = { byteCountMax: 4_096, fieldCountMax: 32 };

const hexValue = new Int8Array(256).fill(-1);
for (let value = 0; value < 16; value += 1) {
  const digit = value.toString(16);
  hexValue[digit.charCodeAt(0)] = value;
  hexValue[digit.toUpperCase().charCodeAt(0)] = value;
}
const isExtensionByte = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~") isExtensionByte[char.charCodeAt(0)] = 1;
for (let byte = 0x30; byte < 0x7b; byte += 1) {
  if (/[0-9A-Za-z]/.test(String.fromCharCode(byte))) isExtensionByte[byte] = 1;
}

/**
 * A body in chunks (RFC 9112, 7.1) that comes in any pieces. Of each piece the data of all its chunks is
 * moved together in place, so that it goes on as one. Extensions and trailers are passed over.
 */
export class ChunkedBody {
  #place = atSize;
  #left = 0;
  #digitCount = 0;
  #extensionByteCount = 0;
  /** Of the extension's name or value nothing has come. */
  #extensionStarts = false;
  #extensionHasValue = false;
  #trailers: HeadReader | null = null;
  #dataStart = 0;
  #dataEnd = 0;

  /** The last `read` reached the end of the body. */
  get ended(): boolean {
    return this.#place === ended;
  }

  /** What the last `read` found, as a part of its `bytes`; null: nothing. */
  data(bytes: Buffer): Buffer | null {
    return this.#dataEnd > this.#dataStart ? bytes.subarray(this.#dataStart, this.#dataEnd) : null;
  }

  /** Takes from `bytes` and gives where it stopped: behind them, or behind the body. Throws `MALFORMED`. */
  read(bytes: Buffer, start: number): number {
    const { length } = bytes;
    this.#dataStart = start;
    this.#dataEnd = start;
    let at = start;
    while (at < length && this.#place !== ended) {
      if (this.#place === inData) at = this.#takeData(bytes, at);
      else if (this.#place === inTrailers) at = this.#takeTrailers(bytes, at);
      else {
        this.#takeByte(bytes[at] as number);
        at += 1;
      }
    }
    return at;
  }

  #takeData(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    if (this.#dataEnd === this.#dataStart) {
      this.#dataStart = at;
      this.#dataEnd = end;
    } else {
      bytes.copyWithin(this.#dataEnd, at, end);
      this.#dataEnd += end - at;
    }
    this.#left -= end - at;
    if (this.#left === 0) this.#place = atDataCr;
    return end;
  }

  #takeByte(byte: number): void {
    switch (this.#place) {
      case atSize:
      case inSize:
        this.#takeSize(byte);
        return;
      case inExtension:
        if (byte === cr) this.#endExtension();
        else this.#takeExtension(byte);
        return;
      case afterSizeCr:
        if (byte !== lf) throw malformed('the line of a chunk has a CR without LF');
        this.#digitCount = 0;
        this.#place = this.#left === 0 ? inTrailers : inData;
        return;
      case atDataCr:
        if (byte !== cr) throw malformed('a chunk is longer than it says');
        this.#place = atDataLf;
        return;
      default:
        if (byte !== lf) throw malformed('a chunk ends in a CR without LF');
        this.#place = atSize;
    }
  }

  #takeSize(byte: number): void {
    const value = hexValue[byte] as number;
    if (value >= 0) {
      this.#digitCount += 1;
      if (this.#digitCount > sizeDigitCountMax) throw malformed('the size of a chunk is too long');
      this.#left = this.#left * 16 + value;
      this.#place = inSize;
    } else if (this.#place === atSize) {
      throw malformed('a chunk does not begin with its size');
    } else if (byte === cr) {
      this.#place = afterSizeCr;
    } else if (byte === semicolon) {
      this.#extensionStarts = true;
      this.#extensionHasValue = false;
      this.#place = inExtension;
    } else throw malformed('the size of a chunk is not hexadecimal');
  }

  /** `;name` or `;name=value`, of the bytes of tokens: no quotes, in which parsers differ. */
  #takeExtension(byte: number): void {
    this.#extensionByteCount += 1;
    if (this.#extensionByteCount > extensionByteCountMax) {
      throw malformed('the extensions of chunks are too long', 413);
    }
    const startsNext = byte === semicolon;
    const startsValue = byte === equals && !this.#extensionHasValue;
    if (startsNext || startsValue) {
      if (this.#extensionStarts) throw malformed('the extension of a chunk is malformed');
      this.#extensionHasValue = startsValue;
    } else if (isExtensionByte[byte] !== 1) {
      throw malformed('the extension of a chunk is malformed');
    }
    this.#extensionStarts = startsNext || startsValue;
  }

  #endExtension(): void {
    if (this.#extensionStarts) throw malformed('the extension of a chunk is malformed');
    this.#place = afterSizeCr;
  }

  #takeTrailers(bytes: Buffer, at: number): number {
    this.#trailers ??= HeadReader.behindFirstLine(trailerLimits);
    const end = this.#trailers.read(bytes, at);
    if (end < 0) return bytes.length;
    const { fields } = parseFields(this.#trailers.take(), 0);
    // RFC 9110, 6.5.1: what tells how to read or where to send a message comes too late there.
    if (framingNames.some((name) => fields[name] !== undefined)) {
      throw malformed('a trailer says how to read the message');
    }
    this.#place = ended;
    return end;
  }
}
