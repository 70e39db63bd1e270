import { createHash } from 'node:crypto';
import type { SequenceLayout } from '@tsukimi/llama';

/** What tells one model's KV from another's, beside the layout of its bytes. */
export interface ModelIdentity {
  /** SHA-256 of the weights, as hex. */
  readonly weightsDigest: string;
  /** Everything that turns a position into angles: base, scale, scaling type, original context. */
  readonly rope: string;
  /** Of the library that computes it; releases may lay out or round differently. */
  readonly libraryVersion: string;
}

/** Everything that must be equal for the KV of one instance to mean the same in another. */
export interface FingerprintParts extends ModelIdentity {
  /** Types and row bytes of keys and values, number of layers, values transposed or not. */
  readonly layout: SequenceLayout;
  readonly chunkLength: number;
  readonly tensorParallelSize: number;
}

/** 32 hex digits: the first half of a SHA-256 over the parts, in a fixed order and with their names. */
export function fingerprint(parts: FingerprintParts): string {
  const { layout } = parts;
  const text = JSON.stringify([
    ['chunkLength', parts.chunkLength],
    ['layerCount', layout.layerCount],
    ['libraryVersion', parts.libraryVersion],
    ['magic', layout.magic],
    // Type and bytes of a row stand in the twelve bytes before each layer's keys and values.
    ['parts', layout.parts.map((part) => [part.header.toString('hex'), part.rowCount])],
    ['rope', parts.rope],
    ['tensorParallelSize', parts.tensorParallelSize],
    ['transposed', layout.transposed],
    ['weightsDigest', parts.weightsDigest],
  ]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
