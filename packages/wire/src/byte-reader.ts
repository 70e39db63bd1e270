import { isAscii, isUtf8 } from 'node:buffer';
import { Fault } from '@tsukimi/base';

const replacementCharacter = '\ufffd';
/** For fewer texts one string each is as quick. */
const sharedCountMin = 8;

/** Reads values from a range of bytes it does not own. Bytes that run out are a `MALFORMED` fault. */
export class ByteReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  position: number;
  lengthWidth = 1;

  constructor(bytes: Buffer, from = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.position = from;
    this.#end = end;
  }

  get remaining(): number {
    return this.#end - this.position;
  }

  u8(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#advance(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#advance(4));
  }

  i32(): number {
    return this.#bytes.readInt32LE(this.#advance(4));
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64LE(this.#advance(8));
  }

  i64(): bigint {
    return this.#bytes.readBigInt64LE(this.#advance(8));
  }

  /** A u64 that must be a safe integer. */
  size(): number {
    const at = this.#advance(8);
    const value = this.#bytes.readUInt32LE(at) + this.#bytes.readUInt32LE(at + 4) * 2 ** 32;
    if (value > Number.MAX_SAFE_INTEGER) throw malformed(`a size of ${value} is out of range`);
    return value;
  }

  length(): number {
    switch (this.lengthWidth) {
      case 1:
        return this.u8();
      case 2:
        return this.u16();
      case 4:
        return this.u32();
      default:
        return this.size();
    }
  }

  text(byteCountMax: number): string {
    const byteCount = this.length();
    if (byteCount > byteCountMax) throw malformed(`a text of ${byteCount} bytes is too long`);
    const at = this.#advance(byteCount);
    const value = this.#bytes.toString('utf8', at, at + byteCount);
    // Two keys of other bytes must not become the same text; a real replacement character is fine.
    if (value.includes(replacementCharacter) && !isUtf8(this.#bytes.subarray(at, at + byteCount))) {
      throw malformed('a text that is not UTF-8');
    }
    return value;
  }

  /**
   * A list of texts that are looked at and not kept: if all that is left is ASCII they are parts of one
   * string, which is quicker to make than many. Each part keeps the whole string alive.
   */
  texts(countMax: number, byteCountMax: number): string[] {
    const count = this.length();
    if (count > countMax || count > this.remaining) throw malformed(`a list of ${count} elements`);
    const texts: string[] = [];
    const from = this.position;
    if (count < sharedCountMin || !isAscii(this.#bytes.subarray(from, this.#end))) {
      for (let index = 0; index < count; index++) texts.push(this.text(byteCountMax));
      return texts;
    }
    const whole = this.#bytes.toString('latin1', from, this.#end);
    for (let index = 0; index < count; index++) {
      const byteCount = this.length();
      if (byteCount > byteCountMax) throw malformed(`a text of ${byteCount} bytes is too long`);
      const at = this.#advance(byteCount) - from;
      texts.push(whole.substring(at, at + byteCount));
    }
    return texts;
  }

  raw(byteCount: number): Buffer {
    const at = this.#advance(byteCount);
    return this.#bytes.subarray(at, at + byteCount);
  }

  #advance(byteCount: number): number {
    const at = this.position;
    if (at + byteCount > this.#end) throw malformed(`${byteCount} bytes more were expected`);
    this.position = at + byteCount;
    return at;
  }
}

export function malformed(reason: string): Fault {
  return new Fault('MALFORMED', `malformed message: ${reason}`);
}
