import { assert } from '@tsukimi/base';

/**
 * Where keys and values lie in what `llama_state_seq_get_data_ext` writes for one sequence of n cells
 * of a plain attention cache with separate streams (llama.cpp v0.5.0, `llama_kv_cache::state_write`),
 * all little endian:
 *
 *     u32 magic; i32 sequence; u32 streams;
 *     for each stream: u32 cells, which is 0 but for the sequence's own, and for that one also
 *       n × { i32 position; u32 1; i32 sequence }; u32 vTransposed; u32 layers;
 *       layers × { i32 type; u64 rowBytes; n × row }                             keys
 *       layers × { i32 type; u64 rowBytes; n × row }                             values, vTransposed 0
 *       layers × { i32 type; u32 elementBytes; u32 width; width × n × element }  values, vTransposed 1
 *
 * A layout holds what does not depend on n, so a short sequence shows the layout of every other one of
 * the same model and cache. A chunk of cells is, for each part and each of its rows, the bytes of these
 * cells: it has no headers, and its length is proportional to its cells.
 */
export interface SequenceLayout {
  readonly magic: number;
  readonly transposed: boolean;
  readonly layerCount: number;
  /** Keys of every layer, then values of every layer. */
  readonly parts: readonly SequencePart[];
  /** Bytes of keys and values of one cell. */
  readonly cellByteCount: number;
}

export interface SequencePart {
  /** The twelve bytes that precede the data of this part, the same for any number of cells. */
  readonly header: Buffer;
  /** 1, or the width of a transposed value row. */
  readonly rowCount: number;
  /** Bytes of one cell in one row. */
  readonly cellByteCount: number;
}

/** Cells of one sequence from position `from` on, headerless, as `cutChunk` leaves them. */
export interface SequenceChunk {
  readonly cells: number;
  readonly bytes: Buffer;
}

const headByteCount = 12;
const cellMetaByteCount = 12;
const partHeaderByteCount = 12;
const layerCountMax = 4_096;
const rowByteCountMax = 2 ** 24;

/** Null when the state is not of the plain attention layout: sliding windows, recurrent and M-RoPE models, other caches. */
export function parseSequenceState(state: Buffer, streams: number): SequenceLayout | null {
  const head = readHead(state);
  if (head === null || head.streams !== streams || head.cells === 0) return null;
  for (let cell = 0; cell < head.cells; cell++) {
    const at = head.metaAt + cell * cellMetaByteCount;
    const plain =
      state.readInt32LE(at) === cell &&
      state.readUInt32LE(at + 4) === 1 &&
      state.readInt32LE(at + 8) === head.sequence;
    if (!plain) return null;
  }
  let at = head.metaAt + head.cells * cellMetaByteCount;
  if (at + 8 > state.length) return null;
  const flag = state.readUInt32LE(at);
  const layerCount = state.readUInt32LE(at + 4);
  if (flag > 1 || layerCount < 1 || layerCount > layerCountMax) return null;
  at += 8;
  const parts: SequencePart[] = [];
  for (let index = 0; index < 2 * layerCount; index++) {
    if (at + partHeaderByteCount > state.length) return null;
    const inRows = flag === 1 && index >= layerCount;
    const rowCount = inRows ? state.readUInt32LE(at + 8) : 1;
    const cellByteCount = inRows
      ? state.readUInt32LE(at + 4)
      : Number(state.readBigUInt64LE(at + 4));
    if (rowCount < 1 || cellByteCount < 1 || rowCount * cellByteCount > rowByteCountMax)
      return null;
    parts.push({
      header: Buffer.from(state.subarray(at, at + partHeaderByteCount)),
      rowCount,
      cellByteCount,
    });
    at += partHeaderByteCount + rowCount * head.cells * cellByteCount;
  }
  // What another kind of cache adds would be left over here.
  if (at + 4 * head.laterStreams !== state.length) return null;
  const cellByteCount = parts.reduce((sum, part) => sum + part.rowCount * part.cellByteCount, 0);
  return { magic: state.readUInt32LE(0), transposed: flag === 1, layerCount, parts, cellByteCount };
}

/** Bytes of a chunk of so many cells. */
export function chunkByteCount(layout: SequenceLayout, cells: number): number {
  return layout.cellByteCount * cells;
}

/** Whether the state has this layout and its cells are in order: what a cut relies on. */
export function matchesLayout(state: Buffer, streams: number, layout: SequenceLayout): boolean {
  const own = parseSequenceState(state, streams);
  return (
    own !== null &&
    own.magic === layout.magic &&
    own.transposed === layout.transposed &&
    own.parts.length === layout.parts.length &&
    own.parts.every((part, index) => layout.parts[index]?.header.equals(part.header) === true)
  );
}

/** Copies the cells [from, to) of an exported sequence to the start of `destination`; returns the bytes written. */
export function cutChunk(
  state: Buffer,
  layout: SequenceLayout,
  from: number,
  to: number,
  destination: Buffer,
): number {
  const head = readHead(state);
  assert(head !== null && from >= 0 && from <= to && to <= head.cells, 'the cells to cut exist');
  assert(destination.length >= chunkByteCount(layout, to - from), 'a chunk fits its destination');
  let partAt = head.metaAt + head.cells * cellMetaByteCount + 8;
  let at = 0;
  for (const part of layout.parts) {
    const rowByteCount = head.cells * part.cellByteCount;
    const length = (to - from) * part.cellByteCount;
    let source = partAt + partHeaderByteCount + from * part.cellByteCount;
    for (let row = 0; row < part.rowCount; row++) {
      state.copy(destination, at, source, source + length);
      at += length;
      source += rowByteCount;
    }
    partAt += partHeaderByteCount + part.rowCount * rowByteCount;
  }
  return at;
}

/** Bytes of the state of a sequence of so many cells. */
export function stateByteCount(layout: SequenceLayout, streams: number, cells: number): number {
  return (
    headByteCount +
    4 * streams +
    cellMetaByteCount * cells +
    8 +
    partHeaderByteCount * layout.parts.length +
    chunkByteCount(layout, cells)
  );
}

export interface JoinTarget {
  /** How many streams the importing context has. */
  readonly streams: number;
  /** The sequence the state is for. */
  readonly sequence: number;
  /** Consecutive from position 0. */
  readonly chunks: readonly SequenceChunk[];
}

/**
 * The state of one sequence made of chunks, ready for import. The result lies in `scratch` when it fits
 * there, else in new memory; it is overwritten by the next join into the same scratch.
 */
export function joinChunks(layout: SequenceLayout, target: JoinTarget, scratch?: Buffer): Buffer {
  const { streams, sequence, chunks } = target;
  assert(sequence >= 0 && sequence < streams, 'a sequence lies in one of the streams');
  const cells = chunks.reduce((sum, chunk) => sum + chunk.cells, 0);
  for (const chunk of chunks) {
    assert(chunk.bytes.length === chunkByteCount(layout, chunk.cells), 'a chunk has its length');
  }
  const byteCount = stateByteCount(layout, streams, cells);
  const state =
    scratch !== undefined && scratch.length >= byteCount
      ? scratch.subarray(0, byteCount)
      : Buffer.allocUnsafe(byteCount);
  let at = state.writeUInt32LE(layout.magic, 0);
  at = state.writeInt32LE(sequence, at);
  at = state.writeUInt32LE(streams, at);
  for (let stream = 0; stream < streams; stream++) {
    at = state.writeUInt32LE(stream === sequence ? cells : 0, at);
    if (stream === sequence && cells > 0) at = writeCells(state, at, layout, target, cells);
  }
  assert(at === byteCount || cells === 0, 'a joined state has the length that was computed');
  return state.subarray(0, at);
}

function writeCells(
  state: Buffer,
  start: number,
  layout: SequenceLayout,
  { sequence, chunks }: JoinTarget,
  cells: number,
): number {
  let at = start;
  for (let cell = 0; cell < cells; cell++) {
    at = state.writeInt32LE(cell, at);
    at = state.writeUInt32LE(1, at);
    at = state.writeInt32LE(sequence, at);
  }
  at = state.writeUInt32LE(layout.transposed ? 1 : 0, at);
  at = state.writeUInt32LE(layout.layerCount, at);
  const offsets = chunks.map(() => 0);
  for (const part of layout.parts) {
    at += part.header.copy(state, at);
    for (let row = 0; row < part.rowCount; row++) {
      for (let index = 0; index < chunks.length; index++) {
        const chunk = chunks[index] as SequenceChunk;
        const from = offsets[index] as number;
        const to = from + chunk.cells * part.cellByteCount;
        at += chunk.bytes.copy(state, at, from, to);
        offsets[index] = to;
      }
    }
  }
  return at;
}

interface Head {
  readonly sequence: number;
  readonly streams: number;
  readonly cells: number;
  readonly metaAt: number;
  readonly laterStreams: number;
}

function readHead(state: Buffer): Head | null {
  if (state.length < headByteCount) return null;
  const sequence = state.readInt32LE(4);
  const streams = state.readUInt32LE(8);
  for (let stream = 0; stream < streams; stream++) {
    const at = headByteCount + 4 * stream;
    if (at + 4 > state.length) return null;
    const cells = state.readUInt32LE(at);
    if (cells === 0) continue;
    const metaAt = at + 4;
    if (metaAt + cells * cellMetaByteCount > state.length) return null;
    return { sequence, streams, cells, metaAt, laterStreams: streams - stream - 1 };
  }
  return { sequence, streams, cells: 0, metaAt: headByteCount + 4 * streams, laterStreams: 0 };
}
