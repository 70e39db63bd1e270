import { type Option, type OptionValues, optionTypes } from '@tsukimi/base';
import { masterReleases, parseRelease } from '@tsukimi/wire';
import { z } from 'zod';
import { defaultCoreOptions } from './core/core-options.ts';
import { dynamicReplicationModes } from './core/hot-objects.ts';
import { type AllocationStrategy, allocationStrategies } from './core/segment-table.ts';
import { storageOptions } from './storage-options.ts';
import { tenantOptions } from './tenants/tenant-options.ts';

const { port, count, ratio, flag } = optionTypes;
const host = z.string().min(1);
const seconds = z.coerce.number().positive();
const secondsOrNever = z.coerce.number().nonnegative();

const unitMs: Readonly<Record<string, number>> = { '': 1, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 };

/** Milliseconds of `10000`, `10s`, `5m` or `1h`. */
const duration = z
  .string()
  .regex(/^\d+(ms|s|m|h)?$/, 'not a time such as 10000 (milliseconds), 10s, 5m or 1h')
  .transform((text) => Number.parseInt(text, 10) * (unitMs[text.replace(/^\d+/, '')] as number));

const release = z.string().transform((text, context) => {
  const known = parseRelease(text);
  if (known !== null) return known;
  const message = `not a release of Mooncake that is known: ${masterReleases.join(', ')}`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});

/** `0.3.12.post1=50052`. */
const releasePort = z
  .string()
  .transform((text): { release: string; port: unknown } => {
    const at = text.indexOf('=');
    return { release: text.slice(0, Math.max(at, 0)), port: text.slice(at + 1) };
  })
  .pipe(z.object({ release, port }));

/** What Mooncake has for memory that is not here, and what is done instead. */
const likeStrategies: Readonly<Record<string, AllocationStrategy>> = {
  ssd_free_ratio_first: 'free_ratio_first',
  cxl: 'random',
};

/** Options of `mooncake_master` that mean something here, under its names, and a few of ours. */
const activeOptions = {
  port: {
    schema: port.default(50_051),
    doc: 'Port of the RPC server; 0 picks a free one.',
    aliases: ['rpc_port'],
  },
  host: {
    schema: host.default('0.0.0.0'),
    doc: 'Address the RPC server listens on.',
    aliases: ['rpc_address'],
  },
  defaultClientRelease: {
    schema: release.default('0.3.13'),
    doc: 'Release of Mooncake whose layouts a client gets as long as nothing it sent shows its own.',
  },
  rpcPortFor: {
    schema: z
      .array(releasePort)
      .default([])
      .refine(
        (ports) => new Set(ports.map((each) => each.release)).size === ports.length,
        'names a release twice',
      ),
    kind: 'list',
    doc: 'RELEASE=PORT: one more RPC port, for clients of this release of Mooncake alone. Clients that only read need it where their release is not the default.',
  },
  metricsPort: {
    schema: port.default(9003),
    doc: 'Port of the admin and metrics server.',
  },
  metricsHost: {
    schema: host.default('0.0.0.0'),
    doc: 'Address the admin and metrics server listens on.',
  },
  adminApiKey: {
    schema: z.string().min(1).optional(),
    doc: 'What admin calls that destroy must send as X-API-Key; nothing is asked when absent.',
    env: 'ADMIN_API_KEY',
  },
  enableHttpMetadataServer: {
    schema: flag,
    kind: 'flag',
    doc: 'Also runs the HTTP metadata server.',
  },
  httpMetadataServerPort: { schema: port.default(8080), doc: 'Port of the metadata server.' },
  httpMetadataServerHost: {
    schema: host.default('0.0.0.0'),
    doc: 'Address the metadata server listens on.',
  },
  httpMetadataServerDataDir: {
    schema: z.string().min(1).optional(),
    doc: 'Directory for a journal of the metadata server, so that a restart forgets nothing; below --journal-dir when absent.',
  },
  enableMetadataCleanupOnTimeout: {
    schema: z.union([z.boolean(), z.stringbool()]).default(true),
    kind: 'flag',
    doc: 'Removes the metadata of engines that are gone; --noenable_metadata_cleanup_on_timeout leaves it.',
  },
  metadataServer: {
    schema: z.string().min(1).optional(),
    doc: "The cluster's metadata server to clean, when it is not inside: http://…, etcd://…, redis://…",
    env: 'MOONCAKE_TE_META_DATA_SERVER',
  },
  metadataClusterId: {
    schema: z.string().default(''),
    doc: 'What keeps this cluster apart from others in the same metadata server.',
    env: 'MC_METADATA_CLUSTER_ID',
  },
  defaultKvLeaseTtl: {
    schema: duration.default(defaultCoreOptions.leaseTtlMs),
    doc: 'How long a read keeps an object from removal and eviction: milliseconds, or 10s, 5m, 1h.',
  },
  clientTtl: {
    schema: seconds.default(defaultCoreOptions.clientTtlMs / 1e3),
    doc: 'Seconds of silence after which a client is taken for dead.',
    // The last is its name in configuration files of Mooncake.
    aliases: ['client_active_ttl_sec', 'client_live_ttl_sec'],
  },
  clientSuspicionTtlSec: {
    schema: secondsOrNever.default(defaultCoreOptions.clientSuspicionTtlMs / 1e3),
    doc: 'Seconds for which a silent client is suspected before its segments are unmounted.',
  },
  putStartDiscardTimeoutSec: {
    schema: seconds.default(defaultCoreOptions.putDiscardTimeoutMs / 1e3),
    doc: 'Seconds after which another put may take over a key whose write has not ended.',
  },
  putStartReleaseTimeoutSec: {
    schema: seconds.default(defaultCoreOptions.putReleaseTimeoutMs / 1e3),
    doc: 'Seconds after which the space of a write that has not ended returns; longer than any transfer.',
  },
  defaultKvSoftPinTtl: {
    schema: duration.default(defaultCoreOptions.softPinTtlMs),
    doc: 'How long a soft pin lasts unless the writer says: milliseconds, or 10s, 5m, 1h.',
  },
  maxKvSoftPinTtl: {
    schema: duration.default(defaultCoreOptions.softPinTtlMsMax),
    doc: 'The longest soft pin a writer may ask for: milliseconds, or 10s, 5m, 1h.',
  },
  allowEvictSoftPinnedObjects: {
    schema: flag.default(defaultCoreOptions.evictSoftPinned),
    kind: 'flag',
    doc: 'Evict soft pinned objects when nothing else is left; --noallow_evict_soft_pinned_objects never does.',
  },
  evictionRatio: {
    schema: ratio.default(defaultCoreOptions.evictionRatio),
    doc: 'Part of the objects that one round of eviction takes.',
  },
  evictionHighWatermarkRatio: {
    schema: ratio.default(defaultCoreOptions.evictionHighWatermark),
    doc: 'Part of the memory in use from which eviction works.',
  },
  allocationStrategy: {
    schema: z
      .enum([...allocationStrategies, ...Object.keys(likeStrategies)])
      .default('random')
      .transform((name) => (likeStrategies[name] ?? name) as AllocationStrategy),
    doc: `Where new objects go: ${allocationStrategies.join(', ')}; ssd_free_ratio_first is free_ratio_first here, cxl random.`,
  },
  enableHa: {
    schema: flag,
    kind: 'flag',
    doc: 'One of several masters, of which one leads and the others follow its journal; those on one --journal-dir lose nothing.',
  },
  haBackendType: {
    schema: z.enum(['etcd', 'redis']).default('etcd'),
    doc: 'Where the masters elect their leader: etcd or redis.',
  },
  haBackendConnstring: {
    schema: z.string().optional(),
    doc: 'Address of etcd or redis for --enable_ha.',
  },
  etcdEndpoints: {
    schema: z.string().optional(),
    doc: 'Addresses of etcd for --enable_ha: a:2379;b:2379.',
  },
  journalDir: {
    schema: z.string().min(1).optional(),
    doc: 'Directory of a journal from which a restarted master has its objects again; none is kept when absent.',
  },
  journalSync: {
    schema: z.union([z.literal('always').transform(() => 0), duration]).default(1_000),
    doc: 'When the journal is on the disk: always before an answer, or after 1s, 500ms. An end of the master alone loses nothing either way.',
  },
  remountRestSec: {
    schema: z.coerce
      .number()
      .nonnegative()
      .default(defaultCoreOptions.remountRestMs / 1e3),
    doc: 'Seconds in which nothing is put into a segment that comes back and is unknown here: somebody may still be at what another master had put there.',
  },
  dynamicReplicationMode: {
    schema: z.enum(dynamicReplicationModes).default(defaultCoreOptions.dynamicReplicationMode),
    doc: 'Whether objects that are read often are copied to more segments: off, observe (counted only), enforce.',
  },
  dynamicReplicationHeatWindowSeconds: {
    schema: seconds.default(defaultCoreOptions.hotWindowMs / 1e3),
    doc: 'Seconds over which reads of an object are counted for that.',
  },
  dynamicReplicationAdmissionQpsThreshold: {
    schema: z.coerce.number().positive().default(defaultCoreOptions.hotReadsPerSecond),
    doc: 'Reads a second from which an object is copied.',
  },
  dynamicReplicationMaxMemoryReplicas: {
    schema: count.default(defaultCoreOptions.hotReplicaCountMax),
    doc: 'Copies in memory at most, those of the writer included.',
  },
  enableKvEvents: {
    schema: flag.refine((isAsked) => !isAsked, {
      message: 'this master publishes no events of keys; start it without the flag',
    }),
    kind: 'flag',
    doc: 'Refused: this master publishes no events of keys over ZeroMQ.',
  },
  maxTotalPendingTasks: {
    schema: count.default(defaultCoreOptions.taskPendingCountMax),
    doc: 'Tasks that wait for their clients at most; one more is refused.',
  },
  maxTotalProcessingTasks: {
    schema: count.default(defaultCoreOptions.taskProcessingCountMax),
    doc: 'Tasks that clients are at, at most; more are not handed out meanwhile.',
  },
  maxTotalFinishedTasks: {
    schema: count.default(defaultCoreOptions.taskFinishedCountMax),
    doc: 'Of the tasks that ended, so many can still be asked for.',
  },
  pendingTaskTimeoutSec: {
    schema: secondsOrNever.default(defaultCoreOptions.taskPendingTimeoutMs / 1e3),
    doc: 'Seconds for which a task waits for its client; 0: for ever.',
  },
  processingTaskTimeoutSec: {
    schema: secondsOrNever.default(defaultCoreOptions.taskProcessingTimeoutMs / 1e3),
    doc: 'Seconds that a client may take for a task; 0: any time.',
  },
  maxRetryAttempts: {
    schema: z.coerce.number().int().nonnegative().default(defaultCoreOptions.taskRetryCountMax),
    doc: 'How often a client tries a task; the client is told so.',
  },
  objectCountMax: {
    schema: count.default(defaultCoreOptions.objectCountMax),
    doc: 'Objects at most; the next put evicts.',
  },
  segmentCountMax: {
    schema: count.default(defaultCoreOptions.segmentCountMax),
    doc: 'Mounted segments at most.',
  },
  clientCountMax: {
    schema: count.default(defaultCoreOptions.clientCountMax),
    doc: 'Known clients at most.',
  },
  ...storageOptions,
  ...tenantOptions,
  configPath: {
    schema: z.string().optional(),
    doc: 'A YAML or JSON file whose keys are flag names, for all that the command line does not say.',
    isConfigFile: true,
  },
  help: { schema: flag, kind: 'flag', doc: 'Prints this text.', aliases: ['h'] },
} as const satisfies Readonly<Record<string, Option>>;

/**
 * What `mooncake_master` and its guides also accept. Threads are not needed: one serves all. The rest
 * belongs to features that are not here.
 */
const withoutEffect = {
  value: `
    max_threads rpc_thread_num handler_worker_thread_num rpc_interface rpc_conn_timeout_seconds
    memory_allocator nof_eviction_ratio nof_eviction_high_watermark_ratio nof_heartbeat_interval_sec
    nof_heartbeat_probe_timeout_ms nof_heartbeat_failures_threshold pod_name pod_namespace
    oplog_poll_interval_ms oplog_batch_max_entries batch_oplog_retry_timeout_sec cxl_path cxl_size
    snapshot_interval_seconds snapshot_child_timeout_seconds snapshot_retention_count
    snapshot_backup_dir snapshot_object_store_type snapshot_payload_store_type
    snapshot_payload_backend_type snapshot_catalog_store_type snapshot_catalog_backend_type
    snapshot_catalog_store_connstring snapshot_catalog_backend_connstring kv_events_bind_endpoint
    kv_events_backend_id kv_events_tenant_id kv_events_model_name kv_events_additional_salt
    kv_events_lora_name kv_events_block_size kv_events_dp_rank kv_events_queue_capacity
    mmap_arena_pool_size v vmodule minloglevel stderrthreshold log_dir max_log_size logbuflevel
    logbufsecs`,
  flag: `
    enable_gc rpc_enable_tcp_no_delay enable_metric_reporting enable_oplog enable_cxl enable_snapshot
    enable_snapshot_restore kv_events_emit_legacy_compat kv_events_emit_object_key
    use_mmap_arena_allocator logtostderr alsologtostderr colorlogtostderr log_prefix`,
} as const;

/** Mooncake's way to keep objects over a restart of its master. */
const snapshotFlags: readonly string[] = ['enableSnapshot', 'enableSnapshotRestore'];

const ignoredOptions: Readonly<Record<string, Option>> = Object.fromEntries(
  (['value', 'flag'] as const).flatMap((kind) =>
    withoutEffect[kind]
      .trim()
      .split(/\s+/)
      .map((name) => [
        name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
        { schema: z.string().optional(), kind, doc: '', hasNoEffect: true },
      ]),
  ),
);

/** What an operator may set; every flag of Mooncake's master is known, in both spellings. */
export const masterOptions = { ...activeOptions, ...ignoredOptions };

export type MasterOptions = OptionValues<typeof activeOptions>;

/** One line for each option that was given and changes nothing, with what does instead. */
export function noticesOf(
  values: Readonly<Record<string, unknown>> & Pick<MasterOptions, 'journalDir'>,
): string[] {
  return Object.entries(ignoredOptions)
    .filter(([name, { kind }]) => {
      const value = values[name];
      return value !== undefined && !(kind === 'flag' && ['false', '0'].includes(value as string));
    })
    .map(([name]) => {
      const spelling = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      const notice = `--${spelling}: has no effect in this version`;
      if (!snapshotFlags.includes(name)) return notice;
      return values.journalDir === undefined
        ? `${notice}, and a restarted master has no objects; --journal-dir keeps them`
        : `${notice}; --journal-dir keeps all objects, with snapshots of its own`;
    });
}
