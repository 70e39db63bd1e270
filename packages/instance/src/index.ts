/** The OpenAI server around an engine: its options, its plan for memory, and everything in one process. */
export { availableMemory } from './available-memory.ts';
export { createInstance, type Instance, type InstanceWorld } from './create-instance.ts';
export { globalSegmentByteCountDefault } from './kv-sharing.ts';
export { type KvRole, kvRoles } from './kv-transfer-config.ts';
export {
  kvByteCountPerToken,
  type MemoryLimit,
  type MemoryNeed,
  type MemoryPlan,
  planMemory,
} from './memory-plan.ts';
export { resolveModelPath } from './model-path.ts';
export { type ServeOptions, serveNotices, serveOptions } from './options.ts';
