/** FFI to llama.cpp behind one thin port, the head of a GGUF file, and the layout of an exported sequence. */
export type {
  Batch,
  ContextOptions,
  LlamaBackend,
  LlamaContext,
  LlamaModel,
  ModelInfo,
  SamplerChain,
  SamplerStage,
  TokenizeOptions,
  Vocabulary,
} from './backend.ts';
export { type GgufHeader, readGgufHeader } from './gguf.ts';
export { KoffiLlamaBackend, type KoffiLlamaBackendOptions } from './koffi/backend.ts';
export { modelDigest } from './model-digest.ts';
export {
  chunkByteCount,
  cutChunk,
  type JoinTarget,
  joinChunks,
  matchesLayout,
  parseSequenceState,
  type SequenceChunk,
  type SequenceLayout,
  type SequencePart,
  stateByteCount,
} from './sequence-state.ts';
