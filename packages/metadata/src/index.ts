/**
 * Where transfer engines find each other: the keys and values of Mooncake's metadata, and the server of
 * its HTTP form. `MetadataStore` is the port; `openMetadataStore` gives the adapter for HTTP, etcd or
 * redis that a connection string asks for.
 */
export {
  formatRpcMeta,
  formatSegmentDescriptor,
  parseRpcMeta,
  parseSegmentDescriptor,
  type RegisteredBuffer,
  type RpcMeta,
  rpcMetaKey,
  type SegmentDescriptor,
  type SharedBuffer,
  segmentKey,
} from './descriptor.ts';
export { HttpMetadataStore, type HttpMetadataStoreOptions } from './http-metadata-store.ts';
export { type JsonValue, parseJson, sortedJson } from './json.ts';
export type { LeaderBoard, LeaderBoardOptions, MasterView } from './leader-board.ts';
export { acceptsConnections } from './liveness.ts';
export {
  describeMetadataAddress,
  type EtcdAddress,
  type MetadataAddress,
  parseMetadataAddress,
  type RedisAddress,
} from './metadata-address.ts';
export { MetadataServer, type MetadataServerOptions } from './metadata-server.ts';
export type {
  ClosableMetadataStore,
  MetadataCallOptions,
  MetadataStore,
} from './metadata-store.ts';
export { openLeaderBoard } from './open-leader-board.ts';
export { openMetadataStore } from './open-metadata-store.ts';
export { openSharedText } from './open-shared-text.ts';
export type { SharedText } from './shared-text.ts';
