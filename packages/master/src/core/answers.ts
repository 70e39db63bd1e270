import {
  ErrorCode,
  type ErrorName,
  type Expected,
  type GetReplicaListResponse,
  type ReplicaDescriptor,
  ReplicaStatus,
} from '@tsukimi/wire';
import type { Replica, StoredObject } from './stored-object.ts';

export const done: Expected<undefined> = Object.freeze({ ok: undefined });

export function failed(name: ErrorName): { readonly error: number } {
  return { error: ErrorCode[name] };
}

/** Where one copy of an object lies, as clients are told. */
export function describeReplica(
  { id, segment, block }: Replica,
  isComplete: boolean,
): ReplicaDescriptor {
  const { base, protocol, teEndpoint } = segment.descriptor;
  return {
    id,
    location: {
      kind: 'memory',
      buffer: {
        size: block.byteCount,
        bufferAddress: base + BigInt(block.offset),
        protocol,
        transportEndpoint: teEndpoint,
      },
    },
    status: isComplete ? ReplicaStatus.COMPLETE : ReplicaStatus.PROCESSING,
  };
}

/** The answer to a reader; made once for all readers between two changes. */
export function answerFor(object: StoredObject, leaseTtlMs: number): GetReplicaListResponse {
  object.answer ??= {
    replicas: object.replicas.map((replica) => describeReplica(replica, true)),
    leaseTtlMs,
    objectChecksum: object.checksum,
  };
  return object.answer;
}
