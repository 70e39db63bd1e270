/**
 * A member of the store: lends memory to it, puts objects that are absent, finds and reads them, on
 * Mooncake's wire. The bytes move by `@tsukimi/transfer`, the master only says where to.
 */
export { BufferPool, type BufferPoolOptions, type PooledBuffer } from './buffer-pool.ts';
export type { LifeState } from './core/store-life.ts';
export { LocalDiskFiles } from './disk/disk-files.ts';
export { DiskStore, type DiskStoreOptions } from './disk/disk-store.ts';
export type { DiskTierSettings } from './disk/disk-tier.ts';
export { freePort } from './free-port.ts';
export { KeyLookup } from './key-lookup.ts';
export { type MasterAddress, parseMasterAddress } from './master-address.ts';
export {
  type MasterPlace,
  type MooncakeConfig,
  readMasterPlace,
  readMooncakeConfig,
} from './mooncake-config.ts';
export {
  createStorageNode,
  type NodeWorld,
  type StorageNode,
} from './node/create-storage-node.ts';
export { type NodeOptions, nodeOptions } from './node/options.ts';
export type { PutDone } from './object-puts.ts';
export type { GetOptions, Objects, RemoveOptions } from './objects.ts';
export type { Reservation } from './reservation.ts';
export type { SegmentSize, Segments } from './segments.ts';
export { StoreClient } from './store-client.ts';
export type { StoreClientOptions, StoreTimeouts } from './store-client-options.ts';
export type {
  ByteRange,
  CallOptions,
  MemoryReplica,
  Outcome,
  PutEntry,
  PutOutcome,
  ReadOutcome,
  RemoveOutcome,
  StoredObject,
  Value,
  WriteOptions,
} from './stored-object.ts';
export type { Tasks } from './tasks.ts';
