import { joinChunks, parseSequenceState, type SequenceLayout } from '@tsukimi/llama';

export const never: AbortSignal = new AbortController().signal;

const layerCount = 3;
const keyRowBytes = 64;
const valueWidth = 32;
const elementBytes = 2;
const magic = 0xaf143cd8;

export function tokensOf(count: number, seed = 1): Int32Array {
  return Int32Array.from({ length: count }, (_, index) => (index * 31 + seed) % 50_000);
}

/** The layout of a small model whose values are transposed, read from a state of one cell. */
export function syntheticLayout(): SequenceLayout {
  const words: Buffer[] = [];
  const u32 = (...values: number[]) => words.push(Buffer.from(new Uint32Array(values).buffer));
  u32(magic, 0, 1, 1, 0, 1, 0, 1, layerCount);
  for (let layer = 0; layer < layerCount; layer++) {
    u32(1, keyRowBytes, 0);
    words.push(Buffer.alloc(keyRowBytes));
  }
  for (let layer = 0; layer < layerCount; layer++) {
    u32(1, elementBytes, valueWidth);
    words.push(Buffer.alloc(elementBytes * valueWidth));
  }
  const layout = parseSequenceState(Buffer.concat(words), 1);
  if (layout === null) throw new Error('the synthetic state has a plain layout');
  return layout;
}

/** An exported sequence whose bytes depend on each cell's token and position. */
export function syntheticState(layout: SequenceLayout, tokens: Int32Array): Buffer {
  const bytes = Buffer.alloc(layout.cellByteCount * tokens.length);
  for (let at = 0; at < bytes.length; at++) {
    const cell = at % tokens.length;
    bytes[at] = ((tokens[cell] as number) * 7 + at) & 0xff;
  }
  const chunk = { cells: tokens.length, bytes };
  return Buffer.from(joinChunks(layout, { streams: 1, sequence: 0, chunks: [chunk] }));
}
