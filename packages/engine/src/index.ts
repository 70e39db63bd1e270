/** Sequences in slots, continuous batching, sampling, and the KV of a slot's prompt from and to a store. */
export {
  type FinishReason,
  type GeneratedPiece,
  type GenerationEnd,
  type GenerationEvent,
  type GenerationRequest,
  isEnd,
  type SamplingOptions,
} from './generation.ts';
export type {
  LoadedPrefix,
  LoadRequest,
  PrefixStore,
  SavedKind,
  SaveRequest,
} from './prefix-store.ts';
