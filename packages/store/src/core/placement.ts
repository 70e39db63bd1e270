import type { ReplicateConfig } from '@tsukimi/wire';
import type { EndpointHealth } from './endpoint-health.ts';

/** More names help no master. */
const preferredCountMax = 8;

/**
 * How to ask for room while a segment is suspected: by the names of those that work, since a master
 * that does not know yet may choose the dead one again. A caller's own wishes stay first.
 */
export function awayFromSuspects(
  config: ReplicateConfig,
  health: EndpointHealth,
  nowMs: number,
): ReplicateConfig {
  if (!health.hasSuspects(nowMs)) return config;
  const own = config.preferredSegment === '' ? config.preferredSegments : [config.preferredSegment];
  const preferred = [...new Set([...own, ...health.working()])]
    .filter((endpoint) => !health.isSuspect(endpoint, nowMs))
    .slice(0, preferredCountMax);
  return { ...config, preferredSegment: '', preferredSegments: preferred };
}

/**
 * How to ask again after a transfer failed. Where nobody is known to work, one replica more is asked
 * for: they lie on different segments, so that one of those is not the dead one and shows it. No more
 * replicas than there are known to work: the master would place the others on those that do not.
 */
export function afterFailures(
  config: ReplicateConfig,
  health: EndpointHealth,
  nowMs: number,
): ReplicateConfig {
  const placed = awayFromSuspects(config, health, nowMs);
  const workingCount = placed.preferredSegments.length;
  const replicaNum =
    workingCount === 0 ? config.replicaNum + 1 : Math.min(config.replicaNum, workingCount);
  return { ...placed, replicaNum };
}
