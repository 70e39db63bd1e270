import { type ReplicateConfig, SoftPinAction } from '@tsukimi/wire';

/** What Mooncake's clients ask for when their callers ask for nothing. */
export function defaultReplicateConfig(preferredSegment: string, hostId: string): ReplicateConfig {
  return {
    replicaNum: 1,
    nofReplicaNum: 0,
    dfsReplicaNum: 0,
    softPinAction: SoftPinAction.PRESERVE,
    softPinTtlMs: null,
    withHardPin: false,
    preferredSegments: [],
    preferredSegment,
    preferredNofSegments: [],
    preferAllocInSameNode: false,
    dataType: 0,
    hostId,
    groupIds: null,
  };
}

/** The caller's wishes over the defaults. Group ids go with their objects, not in here. */
export function replicateConfigOf(
  wishes: Partial<ReplicateConfig>,
  defaults: ReplicateConfig,
): ReplicateConfig {
  const config = { ...defaults, ...wishes, groupIds: null };
  // One preferred segment hides the list, and ours is only a default.
  const hidesList = wishes.preferredSegment === undefined && config.preferredSegments.length > 0;
  return hidesList ? { ...config, preferredSegment: '' } : config;
}
