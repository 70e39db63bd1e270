import { describe, expect, it } from 'vitest';
import {
  chunkByteCount,
  cutChunk,
  joinChunks,
  matchesLayout,
  parseSequenceState,
  type SequenceLayout,
} from '../src/index.ts';

/** A state of one layer as llama.cpp writes it: rows of 3 bytes for keys, 2 rows of 2-byte elements for values. */
function stateOf(cells: number, streams: number, sequence: number): Buffer {
  const words: Buffer[] = [];
  const word = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value | 0);
    words.push(bytes);
  };
  word(0xaf143cd8);
  word(sequence);
  word(streams);
  for (let stream = 0; stream < streams; stream++) {
    if (stream !== sequence) {
      word(0);
      continue;
    }
    word(cells);
    for (let cell = 0; cell < cells; cell++) [cell, 1, sequence].forEach(word);
    [1, 1].forEach(word);
    [1, 3, 0].forEach(word);
    for (let cell = 0; cell < cells; cell++) words.push(Buffer.from([1, cell, 1]));
    [1, 2, 2].forEach(word);
    for (const row of [2, 3]) {
      for (let cell = 0; cell < cells; cell++) words.push(Buffer.from([row, cell]));
    }
  }
  return Buffer.concat(words);
}

describe('sequence state', () => {
  const state = stateOf(5, 3, 1);
  const layout = parseSequenceState(state, 3) as SequenceLayout;

  it('has a layout that does not depend on the number of cells', () => {
    expect(layout).toMatchObject({ transposed: true, layerCount: 1, cellByteCount: 7 });
    expect(parseSequenceState(stateOf(2, 3, 1), 3)).toEqual(layout);
    expect(matchesLayout(stateOf(9, 2, 0), 2, layout)).toBe(true);
  });

  it('is cut into chunks and joined for another sequence and number of streams', () => {
    const chunks = [
      [0, 2],
      [2, 5],
    ].map(([from, to]) => {
      const cells = (to as number) - (from as number);
      const bytes = Buffer.alloc(chunkByteCount(layout, cells));
      cutChunk(state, layout, from as number, to as number, bytes);
      return { cells, bytes };
    });
    expect(chunks[0]?.bytes).toEqual(Buffer.from([1, 0, 1, 1, 1, 1, 2, 0, 2, 1, 3, 0, 3, 1]));
    expect(joinChunks(layout, { streams: 4, sequence: 2, chunks })).toEqual(stateOf(5, 4, 2));
    const scratch = Buffer.alloc(1_000);
    const joined = joinChunks(layout, { streams: 1, sequence: 0, chunks }, scratch);
    expect(joined).toEqual(stateOf(5, 1, 0));
    expect(joined.buffer).toBe(scratch.buffer);
  });

  it('is told from other layouts', () => {
    expect(parseSequenceState(state, 2)).toBeNull();
    expect(parseSequenceState(stateOf(0, 3, 1), 3)).toBeNull();
    // A second cache behind the first one, as models with sliding windows have.
    expect(parseSequenceState(Buffer.concat([state, state.subarray(8)]), 3)).toBeNull();
    // A cell out of order.
    const shuffled = Buffer.from(state);
    shuffled.writeInt32LE(3, 20);
    expect(parseSequenceState(shuffled, 3)).toBeNull();
    for (let byteCount = 0; byteCount < state.length; byteCount++) {
      expect(parseSequenceState(state.subarray(0, byteCount), 3)).toBeNull();
    }
  });
});
