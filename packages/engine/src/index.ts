/** Sequences in slots, continuous batching, sampling, and the KV of a slot's prompt from and to a store. */
export type { PlannedRows, RequestId, StepPlan } from './core/scheduler.ts';
export { Engine } from './engine.ts';
export type { EngineOptions, EngineStats } from './engine-options.ts';
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
