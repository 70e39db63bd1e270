/**
 * Prefix reuse: the engine's `PrefixStore` over content-addressed chunks of KV, kept in the cluster's
 * store or, without one, in the memory of the process.
 */

export type { ChunkStore, FoundChunk } from './chunk-store.ts';
export type { ConnectorCounters, FailureReason } from './connector-counters.ts';
export type { ChunkFlaw } from './core/chunk-header.ts';
export { type FingerprintParts, fingerprint, type ModelIdentity } from './core/fingerprint.ts';
export {
  type ConnectorDeadlines,
  KvConnector,
  type KvConnectorOptions,
  type KvRole,
} from './kv-connector.ts';
export { PrivateChunks, type PrivateChunksOptions } from './private-chunks.ts';
export { StoreChunks } from './store-chunks.ts';
