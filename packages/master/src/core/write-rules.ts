import { ErrorCode, type ReplicateConfig, SoftPinAction } from '@tsukimi/wire';
import type { CoreOptions } from './core-options.ts';

/** What a write asks for, in our terms. */
export interface WritePlan {
  readonly replicaCount: number;
  readonly preferredSegments: readonly string[];
  readonly hostId: string;
  readonly hardPin: boolean;
  /** 0: not pinned; null: as the object that is replaced was. */
  readonly softPinTtlMs: number | null;
  /** Null when the writer names no group; empty for none. */
  readonly groupId: string | null;
}

/** Which write of how many in one call: the group ids of a batch are one for each key. */
export interface BatchPlace {
  readonly index: number;
  readonly count: number;
}

/** Checks what does not depend on the state. */
export function planWrite(
  key: string,
  byteCount: number,
  config: ReplicateConfig,
  place: BatchPlace,
  options: CoreOptions,
): WritePlan | { readonly error: number } {
  const invalid = { error: ErrorCode.INVALID_PARAMS };
  if (key === '' || key.length > options.keyLengthMax || byteCount < 1) return invalid;
  if (config.replicaNum < 1 || config.dfsReplicaNum > 1) return invalid;
  // As the published master answers where nobody set up a distributed file system for it.
  if (config.dfsReplicaNum > 0) return { error: ErrorCode.DFS_SERVICE_UNAVAILABLE };
  if (config.nofReplicaNum > 0) return invalid;
  const softPinTtlMs = plannedSoftPin(config, options);
  if (softPinTtlMs === undefined) return invalid;
  const { groupIds } = config;
  if (groupIds !== null && groupIds.length !== place.count) return invalid;
  return {
    replicaCount: config.replicaNum,
    preferredSegments:
      config.preferredSegment === '' ? config.preferredSegments : [config.preferredSegment],
    hostId: config.hostId,
    hardPin: config.withHardPin,
    softPinTtlMs,
    groupId: groupIds?.[place.index] ?? null,
  };
}

/** Undefined when action and time to live do not go together. */
function plannedSoftPin(config: ReplicateConfig, options: CoreOptions): number | null | undefined {
  const { softPinAction: action, softPinTtlMs: ttlMs } = config;
  if (action === SoftPinAction.ENABLE) {
    const plannedMs = ttlMs ?? options.softPinTtlMs;
    return plannedMs > options.softPinTtlMsMax ? undefined : plannedMs;
  }
  if (ttlMs !== null) return undefined;
  if (action === SoftPinAction.DISABLE) return 0;
  return action === SoftPinAction.PRESERVE ? null : undefined;
}
