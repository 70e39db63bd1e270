import type { CallTallies } from './call-tallies.ts';
import type { MasterCore } from './core/master-core.ts';
import type { TenantQuota } from './core/tenant-quotas.ts';
import type { Journal } from './journal/journal.ts';

type Kind = 'counter' | 'gauge';

/** What Prometheus reads, under the names of Mooncake's metrics; those of features we lack are absent. */
export function metricsText(
  core: MasterCore,
  journal: Journal | null,
  tallies: CallTallies,
): string {
  return [
    ...gauges(core),
    ...segmentGauges(core),
    ...counters(core),
    ...(journal === null ? [] : journalMetrics(journal)),
    ...tenantGauges(core),
    ...callCounters(tallies),
    '',
  ].join('\n');
}

/** One line for people. */
export function metricsSummary(core: MasterCore): string {
  const { usedByteCount, capacityByteCount, objectCount, clientCount } = core;
  const master = [
    `keys=${objectCount}`,
    `allocated_bytes=${usedByteCount}`,
    `capacity_bytes=${capacityByteCount}`,
    `clients=${clientCount}`,
    `evicted_keys=${core.counters.evictedObjects}`,
  ].join(', ');
  return `role=leader, state=serving, service_ready=true, master={${master}}, ha={disabled}`;
}

function gauges(core: MasterCore): string[] {
  return Object.entries({
    master_allocated_bytes: core.usedByteCount,
    master_total_capacity_bytes: core.capacityByteCount,
    master_key_count: core.objectCount,
    master_soft_pin_key_count: core.softPinnedCount,
    master_active_clients: core.clientCount,
    master_put_start_discarded_staging_size: core.setAsideByteCount,
    master_allocated_file_size_bytes: core.fileByteCount,
    master_total_file_capacity_bytes: core.fileCapacityByteCount,
    master_promotion_in_flight: core.localDisks.promotionCount,
    mem_cache_nums_: core.inMemoryCount,
    file_cache_nums_: core.inFilesCount,
    tsukimi_master_unfinished_puts: core.unfinishedPutCount,
  }).flatMap(([name, value]) => metric(name, 'gauge', value));
}

function segmentGauges(core: MasterCore): string[] {
  const byName = new Map<string, { used: number; capacity: number }>();
  for (const { name, usedByteCount, capacityByteCount } of core.segments()) {
    const sum = byName.get(name) ?? { used: 0, capacity: 0 };
    sum.used += usedByteCount;
    sum.capacity += capacityByteCount;
    byName.set(name, sum);
  }
  const labelled = (metricName: string, field: 'used' | 'capacity') => [
    `# TYPE ${metricName} gauge`,
    ...[...byName].map(([name, sum]) => `${metricName}{segment=${label(name)}} ${sum[field]}`),
  ];
  return [
    ...labelled('segment_allocated_bytes', 'used'),
    ...labelled('segment_total_capacity_bytes', 'capacity'),
  ];
}

function counters({ counters: counted }: MasterCore): string[] {
  return Object.entries({
    master_successful_evictions_total: counted.evictionSuccesses,
    master_attempted_evictions_total: counted.evictionAttempts,
    master_evicted_key_count: counted.evictedObjects,
    master_evicted_size_bytes: counted.evictedByteCount,
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
    ...promotionCounters(counted),
    tsukimi_master_reclaimed_puts_total: counted.reclaimed,
    tsukimi_master_expired_clients_total: counted.expiredClients,
  }).flatMap(([name, value]) => metric(name, 'counter', value));
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

function promotionCounters({ promotions, candidates }: MasterCore['counters']) {
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

function metric(name: string, kind: Kind, value: number): string[] {
  return [`# TYPE ${name} ${kind}`, `${name} ${value}`];
}

function label(value: string): string {
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}
