/**
 * Moving bytes between the memories of engines: allocates memory that peers may reach, publishes it,
 * and copies from or to a peer's memory inside the process, through shared memory or over TCP.
 */
export { DirectoryLock } from './directory-lock.ts';
export { type FileRange, mapFileMemory } from './file-memory.ts';
export { allocateMemory, type Memory, type MemoryOptions } from './memory.ts';
export type { Notification } from './notification-queue.ts';
export type { Peer } from './peer-directory.ts';
export { hostId, removeStaleSegments } from './segment-file.ts';
export { TransferBatch, type TransferRequest, type TransferStatus } from './transfer-batch.ts';
export {
  TransferEngine,
  type TransferEngineOptions,
  type TransferOptions,
} from './transfer-engine.ts';
export type { Transport } from './transport.ts';
