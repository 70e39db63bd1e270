import { type Clock, type Logger, type Random, type Service, TurnClock } from '@tsukimi/base';
import type { AnswerGate } from '@tsukimi/rpc';
import { readFailureReport } from '@tsukimi/wire';
import type { Hono } from 'hono';
import { adminApi } from './admin/admin-api.ts';
import { CallTallies } from './call-tallies.ts';
import type { Environment } from './cleaned-metadata.ts';
import { ClientPresence } from './client-presence.ts';
import { type CoreOptions, defaultCoreOptions } from './core/core-options.ts';
import { MasterCore } from './core/master-core.ts';
import { masterHandlers } from './handlers.ts';
import { Housekeeping } from './housekeeping.ts';
import type { Journal } from './journal/journal.ts';
import { keyMatcher } from './key-matcher.ts';
import { LongWork } from './long-work.ts';
import { MasterRpc } from './master-rpc.ts';
import type { MetadataCleaner } from './metadata-cleaner.ts';
import { tellingClients } from './named-clients.ts';
import type { MasterOptions } from './options.ts';
import type { Role } from './standby/role.ts';
import { storageConfigOf, storageRulesOf } from './storage-options.ts';
import { guardTenants } from './tenants/tenant-guard.ts';
import { TenantKeeper } from './tenants/tenant-keeper.ts';
import { policyStoreOf } from './tenants/tenant-options.ts';

export interface TermPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env?: Environment;
  readonly cleaner: MetadataCleaner | null;
  /** Null when none is kept. */
  readonly journal: Journal | null;
  /** What answers wait for; null: for nothing. */
  readonly gate: AnswerGate | null;
  readonly role: () => Role;
}

/** What serves clients: for as long as the process lives, or for as long as it leads. */
export interface Term {
  readonly core: MasterCore;
  readonly rpc: MasterRpc;
  readonly api: Hono;
  /** To be started in this order, once the core is where it should begin. */
  readonly services: readonly Service[];
}

export function assembleTerm(options: MasterOptions, ports: TermPorts): Term {
  const { clock, random, logger, cleaner, journal, gate, role } = ports;
  const core = new MasterCore({
    ...coreOptionsOf(options),
    clock: new TurnClock(clock),
    random,
    matchKeys: keyMatcher,
    changes: journal?.changes ?? null,
  });
  const policies = policyStoreOf(options, ports.env ?? {}, clock);
  const tenants =
    core.tenantQuotas === null || policies === null
      ? null
      : new TenantKeeper(core.tenantQuotas, policies);
  const tallies = new CallTallies();
  const housekeeping = new Housekeeping(core, clock, logger, (name) => cleaner?.engineLost(name));
  const presence = new ClientPresence({
    onConnected: (client) => core.clientConnected(client),
    onDisconnected: (client) => core.clientDisconnected(client),
  });
  const longWork = new LongWork(clock);
  const handlers = masterHandlers({
    core,
    tallies,
    longWork,
    storage: storageConfigOf(options),
    onAllocated: () => housekeeping.evictSoon(),
    onGracePeriod: (graceMs) => housekeeping.sweepAfter(graceMs),
    viewVersion: () => role().leader?.version ?? 0,
  });
  const rpc = new MasterRpc(options, {
    handlers: tellingClients(tenants === null ? handlers : guardTenants(handlers), (peer, client) =>
      presence.shown(peer, client),
    ),
    onAppendix: (bytes) => {
      const report = readFailureReport(bytes);
      if (report !== null) core.reportEndpoints(report.reporter, report.endpoints);
    },
    onClose: (peer) => presence.closed(peer),
    clock,
    logger,
    ...(gate === null ? {} : { gate }),
  });
  const api = adminApi({
    core,
    journal,
    rpc,
    tallies,
    longWork,
    logger,
    role,
    tenants,
    adminApiKey: options.adminApiKey ?? null,
  });
  const services = [tenants, housekeeping, ...rpc.services].filter((service) => service !== null);
  return { core, rpc, api, services };
}

function coreOptionsOf(options: MasterOptions): CoreOptions {
  return {
    ...defaultCoreOptions,
    ...storageRulesOf(options),
    isMultiTenant: options.enableMultiTenants,
    leaseTtlMs: options.defaultKvLeaseTtl,
    clientTtlMs: options.clientTtl * 1e3,
    clientSuspicionTtlMs: options.clientSuspicionTtlSec * 1e3,
    putDiscardTimeoutMs: options.putStartDiscardTimeoutSec * 1e3,
    putReleaseTimeoutMs: options.putStartReleaseTimeoutSec * 1e3,
    softPinTtlMs: options.defaultKvSoftPinTtl,
    softPinTtlMsMax: options.maxKvSoftPinTtl,
    evictSoftPinned: options.allowEvictSoftPinnedObjects,
    evictionRatio: options.evictionRatio,
    evictionHighWatermark: options.evictionHighWatermarkRatio,
    allocationStrategy: options.allocationStrategy,
    dynamicReplicationMode: options.dynamicReplicationMode,
    hotWindowMs: options.dynamicReplicationHeatWindowSeconds * 1e3,
    hotReadsPerSecond: options.dynamicReplicationAdmissionQpsThreshold,
    hotReplicaCountMax: options.dynamicReplicationMaxMemoryReplicas,
    taskPendingCountMax: options.maxTotalPendingTasks,
    taskProcessingCountMax: options.maxTotalProcessingTasks,
    taskFinishedCountMax: options.maxTotalFinishedTasks,
    taskPendingTimeoutMs: options.pendingTaskTimeoutSec * 1e3,
    taskProcessingTimeoutMs: options.processingTaskTimeoutSec * 1e3,
    taskRetryCountMax: options.maxRetryAttempts,
    remountRestMs: options.remountRestSec * 1e3,
    objectCountMax: options.objectCountMax,
    segmentCountMax: options.segmentCountMax,
    clientCountMax: options.clientCountMax,
  };
}
