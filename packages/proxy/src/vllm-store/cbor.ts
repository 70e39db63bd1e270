import type { Hashed } from './block-hash.ts';
import type { HashInput } from './hash-input.ts';

/** Deterministic CBOR (RFC 8949, 4.2.1): what `cbor2.dumps(value, canonical=True)` gives. */
export function writeCbor(value: Hashed, out: HashInput): void {
  if (value === null) out.byte(0xf6);
  else if (typeof value === 'number') head(0, value, out);
  else if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    head(3, text.length, out);
    out.copy(text);
  } else if (value instanceof Uint8Array) {
    head(2, value.length, out);
    out.copy(value);
  } else {
    head(4, value.length, out);
    for (const one of value) writeCbor(one, out);
  }
}

/** Major type, and a number below 2³². */
function head(major: number, value: number, out: HashInput): void {
  const type = major << 5;
  if (value < 24) out.byte(type | value);
  else if (value < 2 ** 8) {
    out.byte(type | 24);
    out.byte(value);
  } else if (value < 2 ** 16) {
    out.byte(type | 25);
    out.uint16BE(value);
  } else {
    out.byte(type | 26);
    out.uint32BE(value);
  }
}
