/** FFI to llama.cpp behind one thin port, the head of a GGUF file, and the layout of an exported sequence. */
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
  sequenceCellCount,
  stateByteCount,
} from './sequence-state.ts';
