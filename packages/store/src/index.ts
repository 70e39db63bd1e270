/**
 * A member of the store: lends memory to it, puts objects that are absent, finds and reads them, on
 * Mooncake's wire. The bytes move by `@tsukimi/transfer`, the master only says where to.
 */
export { BufferPool, type BufferPoolOptions, type PooledBuffer } from './buffer-pool.ts';
export type { LifeState } from './core/store-life.ts';
export { StoreClient, type StoreClientOptions, type StoreTimeouts } from './store-client.ts';
export type {
  CallOptions,
  MemoryReplica,
  PutEntry,
  PutOutcome,
  ReadOutcome,
  RemoveOutcome,
  StoredObject,
} from './stored-object.ts';
