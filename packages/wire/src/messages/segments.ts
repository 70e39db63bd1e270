import { bool, type Infer, i32, i64, size, struct, text, u64 } from '../codec.ts';
import { uuid } from '../uuid.ts';
import { endpoint } from './objects.ts';

export const ClientStatus = { UNDEFINED: 0, OK: 1, NEED_REMOUNT: 2 } as const;

export const SegmentStatus = {
  UNDEFINED: 0,
  OK: 1,
  DRAINING: 2,
  DRAINED: 3,
  GRACEFULLY_UNMOUNTING: 4,
  UNMOUNTING: 5,
} as const;

/** Memory that a client lends to the store. */
export const segment = struct({
  id: uuid,
  name: endpoint,
  /** Virtual address of its first byte in the client's process. */
  base: u64,
  size,
  /** Name of the transfer engine that serves it. */
  teEndpoint: endpoint,
  protocol: text(64),
  hostId: text(2 ** 10),
});
export type Segment = Infer<typeof segment>;

export const nofSegment = struct({
  id: uuid,
  name: endpoint,
  base: u64,
  size,
  teEndpoint: endpoint,
});

export const nofSegmentOwner = struct({ segmentId: uuid, clientId: uuid });

export const pingResponse = struct({
  viewVersionId: i64,
  /** One of `ClientStatus`. */
  clientStatus: i32,
});
export type PingResponse = Infer<typeof pingResponse>;

export const storageConfig = struct({
  fsdir: text(2 ** 14),
  enableDiskEviction: bool,
  quotaBytes: size,
});
export type StorageConfig = Infer<typeof storageConfig>;
