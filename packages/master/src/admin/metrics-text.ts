import type { CallTallies } from '../call-tallies.ts';
import { Histogram } from '../core/histogram.ts';
import type { MasterCore } from '../core/master-core.ts';
import type { TenantQuota } from '../core/tenant-quotas.ts';
import type { Journal } from '../journal/journal.ts';
import type { MasterRpc } from '../master-rpc.ts';
import { usesByName } from './segment-routes.ts';

type Kind = 'counter' | 'gauge';
type ReleaseUse = Pick<MasterRpc, 'connectionCounts' | 'guesses'>;

/**
 * What Prometheus reads, under the names of Mooncake's metrics, so that its dashboards work; what
 * belongs to features that are not here stays 0.
 */
export function metricsText(
  core: MasterCore,
  journal: Journal | null,
  rpc: ReleaseUse,
  tallies: CallTallies,
): string {
  return [
    ...all('gauge', gauges(core)),
    ...segmentGauges(core),
    ...histogram('master_value_size_bytes', core.counters.valueSizes),
    ...all('counter', evictionCounters(core)),
    ...all('counter', counters(core)),
    ...all('counter', promotionCounters(core.counters)),
    ...(journal === null ? [] : journalMetrics(journal)),
    ...tenantGauges(core),
    ...releaseMetrics(rpc),
    ...callCounters(tallies),
    ...withoutFeature(),
    '',
  ].join('\n');
}

/** One line for people, in the order of Mooncake's. */
export function metricsSummary(core: MasterCore): string {
  const { counters } = core;
  const master = [
    `Mem Storage: ${size(core.usedByteCount)} / ${size(core.capacityByteCount)}`,
    `SSD Storage: ${size(core.fileByteCount)} / ${size(core.fileCapacityByteCount)}`,
    `Keys: ${core.objectCount} (soft-pinned: ${core.softPinnedCount})`,
    `Clients: ${core.clientCount}`,
    `Get: Hits/Total=${counters.memoryHits + counters.fileHits}/${counters.lookups}`,
    `Eviction: Success/Attempts=${counters.evictionSuccesses}/${counters.evictionAttempts}, ` +
      `keys=${counters.evictedObjects}, size=${size(counters.evictedByteCount)}`,
    `Discard: Released/Total=${counters.released}/${counters.takenOver}, ` +
      `StagingSize=${size(core.setAsideByteCount)}`,
  ].join(' | ');
  return `role=leader, state=serving, service_ready=true, master={${master}}, ha={}`;
}

function gauges(core: MasterCore): Record<string, number> {
  return {
    master_allocated_bytes: core.usedByteCount,
    master_total_capacity_bytes: core.capacityByteCount,
    master_key_count: core.objectCount,
    master_soft_pin_key_count: core.softPinnedCount,
    master_active_clients: core.clientCount,
    master_put_start_discarded_staging_size: core.setAsideByteCount,
    master_allocated_file_size_bytes: core.fileByteCount,
    master_total_file_capacity_bytes: core.fileCapacityByteCount,
    master_promotion_in_flight: core.localDisks.promotionCount,
    master_client_liveness_active_clients: core.clientCount - core.suspectCount,
    master_client_liveness_suspected_clients: core.suspectCount,
    mem_cache_nums_: core.inMemoryCount,
    file_cache_nums_: core.inFilesCount,
    tsukimi_master_unfinished_puts: core.unfinishedPutCount,
  };
}

function segmentGauges(core: MasterCore): string[] {
  const uses = [...usesByName(core.segments())];
  const labelled = (name: string, field: 'used' | 'capacity') => [
    `# TYPE ${name} gauge`,
    ...uses.map(([segment, use]) => `${name}{segment=${label(segment)}} ${use[field]}`),
  ];
  return [
    ...labelled('segment_allocated_bytes', 'used'),
    ...labelled('segment_total_capacity_bytes', 'capacity'),
  ];
}

/** All that is evicted is memory. */
function evictionCounters({ counters: counted }: MasterCore): Record<string, number> {
  return {
    master_successful_evictions_total: counted.evictionSuccesses,
    master_successful_evictions_mem: counted.evictionSuccesses,
    master_attempted_evictions_total: counted.evictionAttempts,
    master_attempted_evictions_mem: counted.evictionAttempts,
    master_evicted_key_count: counted.evictedObjects,
    master_evicted_key_count_mem: counted.evictedObjects,
    master_evicted_size_bytes: counted.evictedByteCount,
    master_evicted_size_bytes_mem: counted.evictedByteCount,
  };
}

function counters({ counters: counted, suspicionCounts }: MasterCore): Record<string, number> {
  return {
    master_put_start_alloc_failures_total: counted.allocationFailures,
    master_put_start_partial_allocations_total: counted.partialAllocations,
    master_put_start_discard_cnt: counted.takenOver,
    master_put_start_release_cnt: counted.released,
    mem_cache_hit_nums_: counted.memoryHits,
    mem_cache_hit_bytes_total: counted.memoryHitByteCount,
    file_cache_hit_nums_: counted.fileHits,
    file_cache_hit_bytes_total: counted.fileHitByteCount,
    valid_get_nums_: counted.memoryHits + counted.fileHits,
    total_get_nums_: counted.lookups,
    master_client_liveness_suspected_transitions_total: suspicionCounts.begun,
    master_client_liveness_recoveries_total: suspicionCounts.cleared,
    master_client_liveness_offline_transitions_total: counted.expiredClients,
    tsukimi_master_hot_objects_total: counted.hotObjects,
    tsukimi_master_reclaimed_puts_total: counted.reclaimed,
    tsukimi_master_expired_clients_total: counted.expiredClients,
  };
}

function journalMetrics({ counters: counted, isWhole }: Journal): string[] {
  return [
    ...metric('tsukimi_master_journal_whole', 'gauge', isWhole ? 1 : 0),
    ...metric('tsukimi_master_journal_batches_total', 'counter', counted.batches),
    ...metric('tsukimi_master_journal_bytes_total', 'counter', counted.byteCount),
    ...metric('tsukimi_master_journal_syncs_total', 'counter', counted.syncs),
    ...metric('tsukimi_master_journal_failures_total', 'counter', counted.failures),
    ...metric('tsukimi_master_journal_snapshots_total', 'counter', counted.snapshots),
    ...metric('tsukimi_master_journal_last_snapshot_ms', 'gauge', counted.lastSnapshotMs),
  ];
}

function promotionCounters({
  promotions,
  candidates,
}: MasterCore['counters']): Record<string, number> {
  return {
    master_promotion_admitted_total: promotions.admitted,
    master_promotion_completed_total: promotions.completed,
    master_promotion_completed_bytes_total: promotions.completedByteCount,
    master_promotion_cancelled_total: promotions.cancelled,
    master_promotion_expired_total: promotions.expired,
    master_promotion_failed_total: promotions.failed,
    master_promotion_rejected_cap_total: promotions.rejectedCap,
    master_promotion_rejected_frequency_total: promotions.rejectedFrequency,
    master_promotion_rejected_watermark_total: promotions.rejectedWatermark,
    master_promotion_candidate_recorded_total: candidates.recorded,
    master_promotion_candidate_admitted_total: candidates.admitted,
    master_promotion_candidate_admission_rejected_total: candidates.admissionRejected,
    master_promotion_candidate_dropped_limit_total: candidates.droppedLimit,
    master_promotion_candidate_expired_evaluated_total: candidates.expiredEvaluated,
    master_promotion_candidate_expired_unevaluated_total: candidates.expiredUnevaluated,
  };
}

/** Nothing when tenants are one. */
function tenantGauges({ tenantQuotas, capacityByteCount }: MasterCore): string[] {
  if (tenantQuotas === null) return [];
  const quotas = tenantQuotas.list();
  const prefix = 'mooncake_tenant_quota_';
  const each = (name: string, valueOf: (quota: TenantQuota) => number) => [
    `# TYPE ${prefix}${name} gauge`,
    ...quotas.map(
      (quota) => `${prefix}${name}{tenant_id=${label(quota.tenantId)}} ${valueOf(quota)}`,
    ),
  ];
  const sum = (field: 'requestedByteCount' | 'effectiveByteCount') =>
    quotas.reduce((total, quota) => total + quota[field], 0);
  return [
    ...each('requested_bytes', (quota) => quota.requestedByteCount),
    ...each('effective_bytes', (quota) => quota.effectiveByteCount),
    ...each('charged_bytes', (quota) => quota.chargedByteCount),
    ...each('admission_closed', (quota) => (quota.requestedByteCount === 0 ? 1 : 0)),
    ...each('over_quota', (quota) => (quota.chargedByteCount > quota.effectiveByteCount ? 1 : 0)),
    ...each('explicit_policy', (quota) => (quota.requestedByteCount > 0 ? 1 : 0)),
    ...metric(`${prefix}allocatable_capacity_bytes`, 'gauge', capacityByteCount),
    ...metric(`${prefix}requested_bytes_sum`, 'gauge', sum('requestedByteCount')),
    ...metric(`${prefix}effective_bytes_sum`, 'gauge', sum('effectiveByteCount')),
  ];
}

/** Which releases of Mooncake the clients speak, and how often that had to be guessed. */
function releaseMetrics({ connectionCounts, guesses }: ReleaseUse): string[] {
  return [
    '# TYPE tsukimi_master_connections gauge',
    ...[...connectionCounts].map(
      ([release, count]) =>
        `tsukimi_master_connections{release=${label(release ?? 'unknown')}} ${count}`,
    ),
    '# TYPE tsukimi_master_guessed_answers_total counter',
    ...guesses.map(
      ([release, count]) =>
        `tsukimi_master_guessed_answers_total{release=${label(release)}} ${count}`,
    ),
  ];
}

function callCounters({ calls, batches }: CallTallies): string[] {
  const single = [...calls].flatMap(([name, { requests, failures }]) => [
    ...metric(`master_${name}_requests_total`, 'counter', requests),
    ...metric(`master_${name}_failures_total`, 'counter', failures),
  ]);
  const batch = [...batches].flatMap(([name, tally]) =>
    Object.entries({
      requests: tally.requests,
      failures: tally.failures,
      partial_successes: tally.partialSuccesses,
      items: tally.items,
      failed_items: tally.failedItems,
    }).flatMap(([what, value]) => metric(`master_batch_${name}_${what}_total`, 'counter', value)),
  );
  return [...single, ...batch];
}

/** Storage targets over fabrics, snapshots that Mooncake's master forks for, and its operation log. */
function withoutFeature(): string[] {
  const gauge = `master_nof_allocated_bytes master_total_nof_capacity_bytes ha_oplog_last_sequence_id
    ha_oplog_applied_sequence_id ha_oplog_standby_lag ha_oplog_pending_entries
    ha_pending_mutation_queue_size ha_standby_state`;
  const counter = `master_successful_evictions_nof master_attempted_evictions_nof
    master_evicted_key_count_nof master_evicted_size_bytes_nof master_nof_heartbeat_success_total
    master_nof_heartbeat_failure_total master_nof_heartbeat_timeout_total
    master_nof_segments_unmounted_by_heartbeat_total master_snapshot_success master_snapshot_fail`;
  const none = new Histogram([1_000]);
  return [
    ...Object.entries({ gauge, counter }).flatMap(([kind, names]) =>
      names.split(/\s+/).flatMap((name) => metric(name, kind as Kind, 0)),
    ),
    ...histogram('master_nof_heartbeat_probe_latency_ms', none),
    ...histogram('master_snapshot_duration_ms', none),
  ];
}

function histogram(name: string, { bounds, cumulativeCounts, sum }: Histogram): string[] {
  return [
    `# TYPE ${name} histogram`,
    ...[...bounds, '+Inf'].map(
      (bound, index) => `${name}_bucket{le="${bound}"} ${cumulativeCounts[index]}`,
    ),
    `${name}_sum ${sum}`,
    `${name}_count ${cumulativeCounts.at(-1)}`,
  ];
}

function all(kind: Kind, values: Readonly<Record<string, number>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => metric(name, kind, value));
}

function metric(name: string, kind: Kind, value: number): string[] {
  return [`# TYPE ${name} ${kind}`, `${name} ${value}`];
}

function label(value: string): string {
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

/** `1.50 GB` for one and a half times 2^30. */
function size(byteCount: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let value = byteCount;
  let unit = 0;
  for (; value >= 1_024 && unit < units.length - 1; unit += 1) value /= 1_024;
  return `${unit === 0 ? value : value.toFixed(2)} ${units[unit]}`;
}
