/**
 * Where copies lie, told to peers that do not know all kinds of places. Copies of a kind they do not know
 * are left out; if none is left, they get the error that their release has for it.
 */
import {
  absent,
  altered,
  type Codec,
  type Expected,
  expected,
  list,
  map,
  mapped,
  optional,
} from '../codec.ts';
import { ErrorCode } from '../error-code.ts';
import {
  getReplicaListResponse,
  objectKey,
  type ReplicaDescriptor,
  type ReplicaKind,
  replicaDescriptorIn,
} from './objects.ts';
import type { ReplicaAnswers } from './parts.ts';
import { copyStartResponse, moveStartResponse, promotionAllocStartResponse } from './tasks.ts';

/** Answers of a release that knows these kinds only, and no checksum of an object. */
export function answersIn(kinds: readonly ReplicaKind[]): ReplicaAnswers {
  const descriptor = replicaDescriptorIn(kinds);
  const replicas = list(descriptor);
  const isKnown = ({ location }: ReplicaDescriptor) => kinds.includes(location.kind);
  const known = (all: readonly ReplicaDescriptor[]) =>
    all.every(isKnown) ? all : all.filter(isKnown);
  const unspeakable = { error: ErrorCode.REPLICA_NOT_FOUND };
  return {
    started: told(replicas, (all) => {
      const left = known(all);
      return left.length === 0 && all.length > 0
        ? { error: ErrorCode.NO_AVAILABLE_HANDLE }
        : { ok: left };
    }),
    found: told(
      altered(getReplicaListResponse, { replicas, objectChecksum: absent(null) }),
      (found) => {
        const left = known(found.replicas);
        if (left === found.replicas) return { ok: found };
        return left.length === 0
          ? { error: ErrorCode.OBJECT_NOT_FOUND }
          : { ok: { ...found, replicas: left } };
      },
    ),
    foundByRegex: told(map(objectKey, replicas), (entries) => ({
      ok: entries
        .filter(([, all]) => all.length === 0 || all.some(isKnown))
        .map(([key, all]) => [key, known(all)] as const),
    })),
    copyStarted: told(
      altered(copyStartResponse, { source: descriptor, targets: replicas }),
      (copy) =>
        isKnown(copy.source) ? { ok: { ...copy, targets: known(copy.targets) } } : unspeakable,
    ),
    moveStarted: told(
      altered(moveStartResponse, { source: descriptor, target: optional(descriptor) }),
      (move) =>
        isKnown(move.source) && (move.target === null || isKnown(move.target))
          ? { ok: move }
          : unspeakable,
    ),
    promotionStarted: told(
      altered(promotionAllocStartResponse, { memoryDescriptor: descriptor }),
      (promotion) => (isKnown(promotion.memoryDescriptor) ? { ok: promotion } : unspeakable),
    ),
  };
}

/** An answer that `tell` puts into terms that the layout of `inner` has. */
function told<T>(inner: Codec<T>, tell: (value: T) => Expected<T>): Codec<Expected<T>> {
  return mapped(
    expected(inner),
    (answer) => ('ok' in answer ? tell(answer.ok) : answer),
    (answer) => answer,
  );
}
