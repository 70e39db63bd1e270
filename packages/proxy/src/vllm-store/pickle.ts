import type { Hashed } from './block-hash.ts';

const proto = Buffer.of(0x80, 5);
const stop = Buffer.of(0x2e);
const memoize = Buffer.of(0x94);
const mark = Buffer.of(0x28);
/** TUPLE after a MARK, and TUPLE1 to TUPLE3 without one. */
const tupleOf = [Buffer.of(0x74), Buffer.of(0x85), Buffer.of(0x86), Buffer.of(0x87)] as const;

/**
 * Python's `pickle.dumps(value, protocol=5)` of fewer than 64 KiB, so of one frame. Equal texts within
 * a value are taken for different objects. The opcodes are those of Python's `pickletools.py`.
 */
export function pickled(value: Hashed): Buffer {
  const pieces: Uint8Array[] = [];
  write(value, pieces);
  pieces.push(stop);
  const body = Buffer.concat(pieces);
  if (body.length < 4) return Buffer.concat([proto, body]);
  const frame = Buffer.alloc(9);
  frame[0] = 0x95;
  frame.writeBigUInt64LE(BigInt(body.length), 1);
  return Buffer.concat([proto, frame, body]);
}

function write(value: Hashed, pieces: Uint8Array[]): void {
  if (value === null) pieces.push(Buffer.of(0x4e));
  else if (typeof value === 'number') pieces.push(integer(value));
  else if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    pieces.push(sized(0x8c, 0x58, text.length), text, memoize);
  } else if (value instanceof Uint8Array) {
    pieces.push(sized(0x43, 0x42, value.length), value, memoize);
  } else {
    const short = value.length > 0 && value.length <= 3;
    if (!short) pieces.push(mark);
    for (const one of value) write(one, pieces);
    pieces.push(tupleOf[short ? value.length : 0] as Buffer, memoize);
  }
}

/** BININT1, BININT2 or BININT. */
function integer(value: number): Buffer {
  if (value < 2 ** 8) return Buffer.of(0x4b, value);
  if (value < 2 ** 16) return Buffer.of(0x4d, value & 0xff, value >> 8);
  const bytes = Buffer.alloc(5);
  bytes[0] = 0x4a;
  bytes.writeInt32LE(value, 1);
  return bytes;
}

function sized(shortCode: number, longCode: number, byteCount: number): Buffer {
  if (byteCount < 2 ** 8) return Buffer.of(shortCode, byteCount);
  const bytes = Buffer.alloc(5);
  bytes[0] = longCode;
  bytes.writeUInt32LE(byteCount, 1);
  return bytes;
}
