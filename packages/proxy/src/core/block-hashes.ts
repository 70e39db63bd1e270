/** Bytes of a prompt that one hash stands for: some 64 tokens of text. */
export const blockByteCount = 256;
/** What lies beyond is not told apart: 131,072 tokens of text. */
export const blockCountMax = 2_048;

/**
 * Hashes of the whole blocks that `parts` begin with, read as one text: each covers all bytes from the
 * beginning to the end of its block, so that equal hashes mean equal prefixes, but for chance. They are
 * signed 32-bit integers, which V8 keeps without allocating. Made for speed (8 bytes a step, 13 µs for
 * 32 KB) and not against an enemy: who forges a prefix is only sent to an instance that lacks it.
 */
export function blockHashes(parts: readonly Buffer[]): number[] {
  const hashes: number[] = [];
  let one = 0x243f6a88;
  let other = 0x85a308d3;
  for (const part of parts) {
    // A part begins a block of its own: where it lies depends on nothing but the parts before it.
    const view = new DataView(part.buffer, part.byteOffset, part.length);
    const blockCount = Math.min(
      Math.floor(part.length / blockByteCount),
      blockCountMax - hashes.length,
    );
    let at = 0;
    for (let block = 0; block < blockCount; block += 1) {
      for (const end = at + blockByteCount; at < end; at += 8) {
        one = Math.imul(one ^ view.getInt32(at, true), 0x9e3779b1);
        other = Math.imul(other ^ view.getInt32(at + 4, true), 0x85ebca77);
        one ^= other >>> 15;
        other ^= one >>> 13;
      }
      hashes.push(Math.imul(one ^ (other >>> 16), 0x27d4eb2f));
    }
    // The rest of a part counts for the parts that follow, though it is no block.
    for (; at < part.length && part !== parts.at(-1); at += 1) {
      one = Math.imul(one ^ view.getUint8(at), 0x01000193);
      other ^= one >>> 13;
    }
  }
  return hashes;
}

/** Of a short text, such as an address or a session's name; unsigned 32-bit (FNV-1a, then mixed). */
export function textHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return mixed(hash);
}

/** Spreads every bit over all (the finalizer of MurmurHash3, Appleby, public domain). */
export function mixed(hash: number): number {
  let value = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
