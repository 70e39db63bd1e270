import type { SequenceChunk, SequenceLayout } from '@tsukimi/llama';

export type SavedKind = 'prompt' | 'generated';

/**
 * Where the engine finds the KV of prompts that somebody has computed before, and leaves what it
 * computes itself. Nothing here may fail a request: what cannot be had is computed.
 */
export interface PrefixStore {
  /** Leading tokens whose KV is stored: fetched, verified, copied. Never rejects. At most `tokens.length` cells. */
  load(request: LoadRequest): Promise<LoadedPrefix>;
  /** Cuts and puts what is new of the tokens. The state is valid until the promise settles. Never rejects. */
  save(request: SaveRequest): Promise<void>;
  /** Under which keys the store has, or would have, the tokens, as far as they fill whole pieces; in order. */
  keysOf(sequence: Pick<LoadRequest, 'tokens' | 'salt' | 'layout'>): readonly string[];
  /** Whether `save` would do anything for this kind; asked before an export. */
  wants(kind: SavedKind): boolean;
}

export interface LoadRequest {
  readonly tokens: Int32Array;
  /** Requests with different salts never share KV. */
  readonly salt: string;
  readonly layout: SequenceLayout;
  readonly signal: AbortSignal;
}

export interface SaveRequest {
  /** One token for each cell of the state. */
  readonly tokens: Int32Array;
  readonly salt: string;
  /** One exported sequence, see `SequenceLayout`. */
  readonly state: Buffer;
  readonly layout: SequenceLayout;
  readonly kind: SavedKind;
  readonly signal: AbortSignal;
}

export interface LoadedPrefix {
  /** Sum over the chunks. */
  readonly cells: number;
  /** Consecutive from position 0; valid until `release`. */
  readonly chunks: readonly SequenceChunk[];
  release(): void;
}
