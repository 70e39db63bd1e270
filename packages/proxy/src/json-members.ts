import { isUtf8 } from 'node:buffer';
import { Fault } from '@tsukimi/base';

/** A member of the outermost object, as offsets into the document. */
interface Member {
  readonly name: string;
  readonly nameStart: number;
  readonly valueStart: number;
  readonly valueEnd: number;
}

export interface Patch {
  /** Raw JSON text by member name; replaces every occurrence, or is added. */
  readonly set?: Readonly<Record<string, string>>;
  readonly delete?: readonly string[];
}

/** A request has a few dozen; more is an attack on memory. */
const memberCountMax = 1_024;
const depthMax = 512;

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const backslash = 0x5c;
const openBracket = 0x5b;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** 1 for bytes that a string may hold as they are. */
const plainInString = new Uint8Array(256).map((_, byte) =>
  byte >= 0x20 && byte !== quote && byte !== backslash ? 1 : 0,
);

/**
 * A JSON object as bytes, read only as far as to know where its outermost members lie. So a proxy
 * can look at and change a few fields, and the rest travels byte for byte: 64-bit integers, unknown
 * fields, escapes, spacing within values.
 */
export class JsonMembers {
  readonly #bytes: Buffer;
  readonly #members: readonly Member[];

  private constructor(bytes: Buffer, members: readonly Member[]) {
    this.#bytes = bytes;
    this.#members = members;
  }

  /** Throws `INVALID_ARGUMENT` for anything that is not one whole JSON object in UTF-8. */
  static parse(bytes: Buffer): JsonMembers {
    if (!isUtf8(bytes)) throw invalid('it is not valid UTF-8');
    return new JsonMembers(bytes, new Scanner(bytes).document());
  }

  /** As `parse`; null instead of a fault. */
  static tryParse(bytes: Buffer): JsonMembers | null {
    try {
      return JsonMembers.parse(bytes);
    } catch (error) {
      if (error instanceof Fault) return null;
      throw error;
    }
  }

  /** The whole document. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** The value's bytes; null when absent. Of members of the same name the last one counts. */
  raw(name: string): Buffer | null {
    const member = this.#members.findLast((one) => one.name === name);
    return member === undefined ? null : this.#bytes.subarray(member.valueStart, member.valueEnd);
  }

  /** A boolean, number or string; null when absent, null, an object or an array. */
  scalar(name: string): boolean | number | string | null {
    const raw = this.raw(name);
    if (raw === null || raw[0] === openBrace || raw[0] === openBracket) return null;
    return JSON.parse(raw.toString('utf8')) as boolean | number | string | null;
  }

  /** Elements of an array of texts or arrays; null for anything else, as an array of numbers. */
  textCount(name: string): number | null {
    const raw = this.raw(name);
    return raw === null || raw[0] !== openBracket ? null : new Scanner(raw).textCount();
  }

  /** Whether one of `names` has a value that asks for something: no null, false, 0, or empty one. */
  asksForAny(names: ReadonlySet<string>): boolean {
    return this.#members.some(
      ({ name, valueStart, valueEnd }) =>
        names.has(name) &&
        (valueEnd - valueStart > 5 ||
          !/^(?:null|false|0(?:\.0+)?|\[ *\]|"")$/.test(
            this.#bytes.toString('latin1', valueStart, valueEnd),
          )),
    );
  }

  /** A new document; what the patch does not name is copied as it is. */
  patched(patch: Patch): Buffer {
    const set = Object.entries(patch.set ?? {});
    const dropped = new Set([...set.map(([name]) => name), ...(patch.delete ?? [])]);
    const pieces: Uint8Array[] = [];
    let separator = '{';
    for (let index = 0; index < this.#members.length; ) {
      const from = this.#members[index] as Member;
      index += 1;
      if (dropped.has(from.name)) continue;
      let until = from;
      // Neighbours that stay are copied in one go, with the commas between them.
      for (; index < this.#members.length; index += 1) {
        const next = this.#members[index] as Member;
        if (dropped.has(next.name)) break;
        until = next;
      }
      pieces.push(Buffer.from(separator), this.#bytes.subarray(from.nameStart, until.valueEnd));
      separator = ',';
    }
    let tail = '';
    for (const [name, value] of set) {
      tail += `${separator}${JSON.stringify(name)}:${value}`;
      separator = ',';
    }
    pieces.push(Buffer.from(separator === '{' ? '{}' : `${tail}}`));
    return Buffer.concat(pieces);
  }
}

/** Checks the whole grammar of RFC 8259, without recursion and without building values. */
class Scanner {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  document(): Member[] {
    this.#space();
    if (this.#bytes[this.#at] !== openBrace) throw invalid('it is not an object');
    this.#at += 1;
    const members: Member[] = [];
    this.#space();
    if (this.#bytes[this.#at] === closeBrace) this.#at += 1;
    else {
      for (;;) {
        members.push(this.#member());
        if (members.length > memberCountMax) {
          throw invalid(`it has more than ${memberCountMax} members`);
        }
        this.#space();
        const byte = this.#bytes[this.#at];
        this.#at += 1;
        if (byte === closeBrace) break;
        if (byte !== comma) throw this.#unexpected(this.#at - 1);
        this.#space();
      }
    }
    this.#space();
    if (this.#at !== this.#bytes.length) throw this.#unexpected(this.#at);
    return members;
  }

  /** Of an array that is known to be valid. */
  textCount(): number | null {
    this.#at = 1;
    this.#space();
    const first = this.#bytes[this.#at];
    if (first !== quote && first !== openBracket) return null;
    for (let count = 1; ; count += 1) {
      this.#value();
      this.#space();
      if (this.#bytes[this.#at] !== comma) return count;
      this.#at += 1;
      this.#space();
    }
  }

  #member(): Member {
    const nameStart = this.#at;
    if (this.#bytes[nameStart] !== quote) throw this.#unexpected(nameStart);
    this.#string();
    const text = this.#bytes.toString('utf8', nameStart + 1, this.#at - 1);
    const name = text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
    this.#space();
    if (this.#bytes[this.#at] !== colon) throw this.#unexpected(this.#at);
    this.#at += 1;
    this.#space();
    const valueStart = this.#at;
    this.#value();
    return { name, nameStart, valueStart, valueEnd: this.#at };
  }

  /** Past one value of any kind. Open arrays and objects are kept on a stack of their own. */
  #value(): void {
    const closers: number[] = [];
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte === openBracket || byte === openBrace) {
        this.#at += 1;
        this.#space();
        const closer = byte + 2;
        if (this.#bytes[this.#at] === closer) this.#at += 1;
        else {
          closers.push(closer);
          if (closers.length > depthMax) throw invalid(`it is nested deeper than ${depthMax}`);
          if (closer === closeBrace) this.#memberName();
          continue;
        }
      } else this.#scalar(byte);
      // A value has ended; so may what it was the last one of.
      for (;;) {
        const closer = closers.at(-1);
        if (closer === undefined) return;
        this.#space();
        const next = this.#bytes[this.#at];
        this.#at += 1;
        if (next === closer) {
          closers.pop();
          continue;
        }
        if (next !== comma) throw this.#unexpected(this.#at - 1);
        this.#space();
        if (closer === closeBrace) this.#memberName();
        break;
      }
    }
  }

  #memberName(): void {
    if (this.#bytes[this.#at] !== quote) throw this.#unexpected(this.#at);
    this.#string();
    this.#space();
    if (this.#bytes[this.#at] !== colon) throw this.#unexpected(this.#at);
    this.#at += 1;
    this.#space();
  }

  #scalar(byte: number | undefined): void {
    if (byte === quote) this.#string();
    else if (byte === 0x74) this.#word('true');
    else if (byte === 0x66) this.#word('false');
    else if (byte === 0x6e) this.#word('null');
    else this.#number();
  }

  #string(): void {
    const bytes = this.#bytes;
    let at = this.#at + 1;
    for (;;) {
      while (plainInString[bytes[at] as number] === 1) at += 1;
      const byte = bytes[at];
      if (byte === quote) break;
      if (byte !== backslash) throw this.#unexpected(at);
      const escaped = bytes[at + 1];
      if (escaped === 0x75) {
        for (let digit = at + 2; digit < at + 6; digit += 1) {
          if (!isHexDigit(bytes[digit])) throw this.#unexpected(digit);
        }
        at += 6;
      } else if (escaped !== undefined && '"\\/bfnrt'.includes(String.fromCharCode(escaped)))
        at += 2;
      else throw this.#unexpected(at + 1);
    }
    this.#at = at + 1;
  }

  #number(): void {
    if (this.#bytes[this.#at] === 0x2d) this.#at += 1;
    if (this.#bytes[this.#at] === 0x30) this.#at += 1;
    else this.#digits();
    if (this.#bytes[this.#at] === 0x2e) {
      this.#at += 1;
      this.#digits();
    }
    const exponent = this.#bytes[this.#at];
    if (exponent === 0x65 || exponent === 0x45) {
      this.#at += 1;
      const sign = this.#bytes[this.#at];
      if (sign === 0x2b || sign === 0x2d) this.#at += 1;
      this.#digits();
    }
  }

  #digits(): void {
    const start = this.#at;
    while (isDigit(this.#bytes[this.#at])) this.#at += 1;
    if (this.#at === start) throw this.#unexpected(start);
  }

  #word(word: string): void {
    for (let index = 0; index < word.length; index += 1) {
      if (this.#bytes[this.#at + index] !== word.charCodeAt(index)) {
        throw this.#unexpected(this.#at + index);
      }
    }
    this.#at += word.length;
  }

  #space(): void {
    for (;;) {
      const byte = this.#bytes[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.#at += 1;
    }
  }

  #unexpected(at: number): Fault {
    return at >= this.#bytes.length
      ? invalid('it ends too early')
      : invalid(`there is something unexpected at byte ${at}`);
  }
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

function isHexDigit(byte: number | undefined): boolean {
  return isDigit(byte) || (byte !== undefined && (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
}

function invalid(reason: string): Fault {
  return new Fault('INVALID_ARGUMENT', `the body is not valid JSON: ${reason}`);
}
