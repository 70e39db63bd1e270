import { malformed } from './malformed.ts';

export interface HeadLimits {
  readonly byteCountMax: number;
  readonly fieldCountMax: number;
}

const cr = 0x0d;
const lf = 0x0a;
const space = 0x20;
const tab = 0x09;

// Where in a head the next byte stands.
const atStart = 0;
const afterFirstCr = 1;
const afterEmptyLine = 2;
const inLine = 3;
const afterCr = 4;
const atLineStart = 5;
const afterLastCr = 6;

/** Bytes that stand in a line as they are: all but controls, with the tab. */
const isOrdinary = new Uint8Array(256).map((_, byte) =>
  byte === tab || (byte >= space && byte !== 0x7f) ? 1 : 0,
);

/**
 * Finds the end of a message head (start line, fields, empty line) that comes in any pieces, and looks
 * at each byte once. Lines must end in CR LF: a bare CR or LF, a control byte and a folded line are
 * where implementations disagree about what was sent.
 */
export class HeadReader {
  readonly #limits: HeadLimits;
  #place = atStart;
  #kept = '';
  #byteCount = 0;
  #lineCount = 0;

  constructor(limits: HeadLimits) {
    this.#limits = limits;
  }

  /** For fields alone, as trailers are. */
  static behindFirstLine(limits: HeadLimits): HeadReader {
    const reader = new HeadReader(limits);
    reader.#place = atLineStart;
    return reader;
  }

  /** Whether a part of a head has come. */
  get begun(): boolean {
    return this.#byteCount > 0;
  }

  /** After `read` has found the end: all lines, each with its CR LF, without the empty line. Latin-1. */
  take(): string {
    // RFC 9112, 2.2: one empty line before a message is passed over.
    const text = this.#kept.slice(this.#kept.startsWith('\r\n') ? 2 : 0, -2);
    this.#kept = '';
    this.#place = atStart;
    this.#byteCount = 0;
    this.#lineCount = 0;
    return text;
  }

  /** Where the head ends in `bytes`, or -1 when it goes on behind them. Throws `MALFORMED`. */
  read(bytes: Buffer, start: number): number {
    const end = Math.min(bytes.length, start + this.#limits.byteCountMax - this.#byteCount);
    let place = this.#place;
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (place === inLine) {
        if (isOrdinary[byte] === 1) continue;
        if (byte !== cr) throw misplaced(byte);
        place = afterCr;
      } else if (place === afterLastCr) {
        if (byte !== lf) throw misplaced(cr);
        this.#kept += bytes.toString('latin1', start, at + 1);
        return at + 1;
      } else place = this.#next(place, byte);
    }
    this.#place = place;
    this.#byteCount += end - start;
    if (this.#byteCount >= this.#limits.byteCountMax) throw this.#tooLarge();
    this.#kept += bytes.toString('latin1', start, end);
    return -1;
  }

  #next(place: number, byte: number): number {
    if (place === afterCr) {
      if (byte !== lf) throw misplaced(cr);
      return atLineStart;
    }
    if (place === afterFirstCr) {
      if (byte !== lf) throw misplaced(cr);
      return afterEmptyLine;
    }
    if (byte === cr && place === atStart) return afterFirstCr;
    if (byte === cr && place === atLineStart) return afterLastCr;
    if (isOrdinary[byte] !== 1) throw misplaced(byte);
    if (byte === space || byte === tab) throw malformed('a line begins with white space');
    if (place === atLineStart) {
      this.#lineCount += 1;
      if (this.#lineCount > this.#limits.fieldCountMax) {
        throw malformed(`there are more than ${this.#limits.fieldCountMax} header fields`, 431);
      }
    }
    return inLine;
  }

  #tooLarge() {
    const inFirstLine = this.#lineCount === 0 && this.#place === inLine;
    const what = inFirstLine ? 'the first line' : 'the header';
    return malformed(
      `${what} exceeds the ${this.#limits.byteCountMax} bytes allowed`,
      inFirstLine ? 414 : 431,
    );
  }
}

function misplaced(byte: number) {
  if (byte === lf) return malformed('a line ends in LF without CR');
  if (byte === cr) return malformed('there is a CR that ends no line');
  return malformed(`there is a control byte, 0x${byte.toString(16).padStart(2, '0')}`);
}
