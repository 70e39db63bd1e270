/**
 * Mooncake's master protocol in bytes: coro_rpc frames, struct_pack messages, and every call of the
 * master declared once. Pure functions of bytes; sockets are the business of `@tsukimi/rpc`.
 */
export { ByteReader, malformed } from './byte-reader.ts';
export { ByteWriter } from './byte-writer.ts';
export type { Codec, Expected, Infer } from './codec.ts';
export {
  type DiskProtocol,
  diskProtocol,
  parseStorageKey,
  storageKeyOf,
} from './disk-protocol.ts';
export { ErrorCode, type ErrorName, errorName } from './error-code.ts';
export { type FailureReport, readFailureReport, writeFailureReport } from './failure-report.ts';
export {
  type RequestFrame,
  RequestParser,
  type ResponseFrame,
  ResponseParser,
  RpcError,
  readError,
  writeErrorResponse,
  writeRequest,
  writeResponse,
} from './frame.ts';
export { type MasterProtocol, masterProtocol } from './master-protocol.ts';
export {
  type GetReplicaListResponse,
  ObjectDataType,
  type ObjectMeta,
  type ProbeOptions,
  ProbePolicy,
  type ReplicaDescriptor,
  ReplicaStatus,
  ReplicaType,
  type ReplicateConfig,
  SoftPinAction,
} from './messages/objects.ts';
export {
  ClientStatus,
  type PingResponse,
  type Segment,
  SegmentStatus,
  type StorageConfig,
} from './messages/segments.ts';
export {
  type QueryTaskResponse,
  type TaskAssignment,
  TaskStatus,
  TaskType,
} from './messages/tasks.ts';
export {
  type ArgsOf,
  decodeArgs,
  encodeArgs,
  type Method,
  type Protocol,
  type ResultOf,
} from './protocol.ts';
export { type ProbeOutcome, releaseOf, releaseProbeKey, releaseProbes } from './release-probe.ts';
export {
  type MasterRelease,
  masterReleases,
  parseRelease,
  protocolOf,
  type ReleaseProtocol,
  unsupportedCalls,
} from './releases.ts';
export {
  decodeMessage,
  type EncodeOptions,
  encodeMessage,
  type MessageType,
} from './struct-pack.ts';
export { makeUuid, parseUuid, type Uuid } from './uuid.ts';
