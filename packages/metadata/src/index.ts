/**
 * Where transfer engines find each other: the keys and values of Mooncake's metadata, a client and
 * a server for its HTTP form. `MetadataStore` is the port; `HttpMetadataStore` is its adapter.
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
export { acceptsConnections } from './liveness.ts';
export { MetadataServer, type MetadataServerOptions } from './metadata-server.ts';
export type { MetadataCallOptions, MetadataStore } from './metadata-store.ts';
export { parseMetadataUrl } from './metadata-url.ts';
