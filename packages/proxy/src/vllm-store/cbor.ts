import type { Hashed } from './block-hash.ts';

/** Deterministic CBOR (RFC 8949, 4.2.1): what `cbor2.dumps(value, canonical=True)` gives. */
export function cborItem(value: Hashed): Buffer {
  const pieces: Uint8Array[] = [];
  write(value, pieces);
  return Buffer.concat(pieces);
}

function write(value: Hashed, pieces: Uint8Array[]): void {
  if (value === null) pieces.push(Buffer.of(0xf6));
  else if (typeof value === 'number') pieces.push(head(0, value));
  else if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    pieces.push(head(3, text.length), text);
  } else if (value instanceof Uint8Array) pieces.push(head(2, value.length), value);
  else {
    pieces.push(head(4, value.length));
    for (const one of value) write(one, pieces);
  }
}

/** Major type, and a number below 2³². */
function head(major: number, value: number): Buffer {
  const type = major << 5;
  if (value < 24) return Buffer.of(type | value);
  if (value < 2 ** 8) return Buffer.of(type | 24, value);
  if (value < 2 ** 16) return Buffer.of(type | 25, value >> 8, value & 0xff);
  const bytes = Buffer.alloc(5);
  bytes[0] = type | 26;
  bytes.writeUInt32BE(value, 1);
  return bytes;
}
