/** Test aids: a store of prefixes in this process's memory. */
import { chunkByteCount, cutChunk, type SequenceChunk } from '@tsukimi/llama';
import type {
  LoadedPrefix,
  LoadRequest,
  PrefixStore,
  SavedKind,
  SaveRequest,
} from './prefix-store.ts';

interface StoredSequence {
  readonly salt: string;
  readonly tokens: Int32Array;
  readonly chunks: readonly SequenceChunk[];
}

/** Keeps every saved sequence in chunks, and gives back the chunks whose tokens are all wanted. */
export class MemoryPrefixStore implements PrefixStore {
  /** What was asked for, in order. */
  readonly saves: { kind: SavedKind; cells: number }[] = [];
  readonly loads: { tokens: number; cells: number }[] = [];
  /** Handed out and not released yet. */
  lentCount = 0;
  readonly #kinds: readonly SavedKind[];
  readonly #chunkCells: number;
  #sequences: StoredSequence[] = [];

  constructor(kinds: readonly SavedKind[] = ['prompt', 'generated'], chunkCells = 64) {
    this.#kinds = kinds;
    this.#chunkCells = chunkCells;
  }

  wants(kind: SavedKind): boolean {
    return this.#kinds.includes(kind);
  }

  keysOf({ tokens, salt }: Pick<LoadRequest, 'tokens' | 'salt'>): string[] {
    const count = Math.floor(tokens.length / this.#chunkCells);
    return Array.from({ length: count }, (_, at) =>
      [salt, ...tokens.subarray(0, (at + 1) * this.#chunkCells)].join('/'),
    );
  }

  async save({ tokens, salt, state, layout, kind }: SaveRequest): Promise<void> {
    const chunks: SequenceChunk[] = [];
    for (let from = 0; from < tokens.length; from += this.#chunkCells) {
      const to = Math.min(from + this.#chunkCells, tokens.length);
      const bytes = Buffer.alloc(chunkByteCount(layout, to - from));
      cutChunk(state, layout, from, to, bytes);
      chunks.push({ cells: to - from, bytes });
    }
    this.#sequences.push({ salt, tokens: tokens.slice(), chunks });
    this.saves.push({ kind, cells: tokens.length });
  }

  async load({ tokens, salt }: LoadRequest): Promise<LoadedPrefix> {
    let best: SequenceChunk[] = [];
    let cells = 0;
    for (const sequence of this.#sequences) {
      if (sequence.salt !== salt) continue;
      const fitting: SequenceChunk[] = [];
      let at = 0;
      for (const chunk of sequence.chunks) {
        const own = sequence.tokens.subarray(at, at + chunk.cells);
        if (!own.every((token, index) => token === tokens[at + index])) break;
        fitting.push(chunk);
        at += chunk.cells;
      }
      if (at > cells) {
        best = fitting;
        cells = at;
      }
    }
    this.loads.push({ tokens: tokens.length, cells });
    this.lentCount++;
    return { cells, chunks: best, release: () => this.lentCount-- };
  }
}
