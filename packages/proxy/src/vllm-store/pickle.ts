import type { Hashed } from './block-hash.ts';
import type { HashInput } from './hash-input.ts';

const proto = Buffer.of(0x80, 5);
const opcodes = {
  ...{ frame: 0x95, stop: 0x2e, memoize: 0x94, mark: 0x28, none: 0x4e },
  ...{ binInt1: 0x4b, binInt2: 0x4d, binInt: 0x4a },
  ...{ shortText: 0x8c, text: 0x58, shortBytes: 0x43, bytes: 0x42 },
} as const;
/** TUPLE after a MARK, and TUPLE1 to TUPLE3 without one. */
const tuples = [0x74, 0x85, 0x86, 0x87] as const;

/**
 * Python's `pickle.dumps(value, protocol=5)` of fewer than 64 KiB, so of one frame. Equal texts within
 * a value are taken for different objects. The opcodes are those of Python's `pickletools.py`.
 */
export function writePickle(value: Hashed, out: HashInput): void {
  out.copy(proto);
  out.byte(opcodes.frame);
  const sizeAt = out.length;
  out.uint32LE(0);
  out.uint32LE(0);
  const start = out.length;
  write(value, out);
  out.byte(opcodes.stop);
  out.replaceUint32LE(sizeAt, out.length - start);
}

function write(value: Hashed, out: HashInput): void {
  if (value === null) out.byte(opcodes.none);
  else if (typeof value === 'number') integer(value, out);
  else if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    sized(opcodes.shortText, opcodes.text, text, out);
  } else if (value instanceof Uint8Array) sized(opcodes.shortBytes, opcodes.bytes, value, out);
  else {
    const isShort = value.length > 0 && value.length <= 3;
    if (!isShort) out.byte(opcodes.mark);
    for (const one of value) write(one, out);
    out.byte(tuples[isShort ? value.length : 0] as number);
    out.byte(opcodes.memoize);
  }
}

/** Below 2³¹. */
function integer(value: number, out: HashInput): void {
  if (value < 2 ** 8) {
    out.byte(opcodes.binInt1);
    out.byte(value);
  } else if (value < 2 ** 16) {
    out.byte(opcodes.binInt2);
    out.uint16LE(value);
  } else {
    out.byte(opcodes.binInt);
    out.uint32LE(value);
  }
}

function sized(shortCode: number, longCode: number, bytes: Uint8Array, out: HashInput): void {
  if (bytes.length < 2 ** 8) {
    out.byte(shortCode);
    out.byte(bytes.length);
  } else {
    out.byte(longCode);
    out.uint32LE(bytes.length);
  }
  out.copy(bytes);
  out.byte(opcodes.memoize);
}
