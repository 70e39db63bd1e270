import {
  ErrorCode,
  type ErrorName,
  type Expected,
  type GetReplicaListResponse,
  type ReplicaDescriptor,
  ReplicaStatus,
} from '@tsukimi/wire';
import { isReadable, type Replica } from './replica.ts';
import type { StoredObject } from './stored-object.ts';

export const done: Expected<undefined> = Object.freeze({ ok: undefined });

export function failed(name: ErrorName): { readonly error: number } {
  return { error: ErrorCode[name] };
}

/** Where one copy of an object lies, as clients are told. */
export function describeReplica(replica: Replica): ReplicaDescriptor {
  return {
    id: replica.id,
    location: locationOf(replica),
    status: replica.isComplete ? ReplicaStatus.COMPLETE : ReplicaStatus.PROCESSING,
  };
}

/**
 * The answer to a reader; made once for all readers between two changes. `isAllReadable` says that nobody
 * who holds copies is suspected or still to be heard: only then need copies not be looked at one by one.
 */
export function answerFor(
  object: StoredObject,
  leaseTtlMs: number,
  isAllReadable: boolean,
): GetReplicaListResponse {
  if (!isAllReadable && object.replicas.some(isWithheld)) return answerOf(object, leaseTtlMs);
  object.answer ??= answerOf(object, leaseTtlMs);
  return object.answer;
}

function answerOf(object: StoredObject, leaseTtlMs: number): GetReplicaListResponse {
  return {
    replicas: object.replicas.filter(isReadable).map(describeReplica),
    leaseTtlMs,
    objectChecksum: object.checksum,
  };
}

/** Whether only who holds it keeps readers away: that passes without the object being changed. */
function isWithheld(replica: Replica): boolean {
  return replica.isComplete && !isReadable(replica);
}

function locationOf(replica: Replica): ReplicaDescriptor['location'] {
  switch (replica.kind) {
    case 'memory': {
      const { base, protocol, teEndpoint } = replica.segment.descriptor;
      return {
        kind: 'memory',
        buffer: {
          size: replica.block.byteCount,
          bufferAddress: base + BigInt(replica.block.offset),
          protocol,
          transportEndpoint: teEndpoint,
        },
      };
    }
    case 'disk':
      return { kind: 'disk', filePath: replica.filePath, objectSize: replica.byteCount };
    case 'localDisk':
      return {
        kind: 'localDisk',
        clientId: replica.disk.owner,
        objectSize: replica.byteCount,
        transportEndpoint: replica.transportEndpoint,
      };
  }
}
