import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import {
  type Clock,
  formatAddress,
  HttpService,
  type Logger,
  type Random,
  type Service,
} from '@tsukimi/base';
import { MetadataServer, openLeaderBoard } from '@tsukimi/metadata';
import type { RpcServer } from '@tsukimi/rpc';
import type { MasterProtocol } from '@tsukimi/wire';
import type { Hono } from 'hono';
import { cleanedMetadata, type Environment } from './cleaned-metadata.ts';
import type { MasterCore } from './core/master-core.ts';
import { Journal } from './journal/journal.ts';
import { JournalDirectory } from './journal/journal-directory.ts';
import { openJournalFile } from './journal/journal-file.ts';
import { bootId, JournalKeeper } from './journal/journal-keeper.ts';
import { MetadataCleaner } from './metadata-cleaner.ts';
import { type MasterOptions, noticesOf } from './options.ts';
import { boardAddress, haLeaseTtlSec, reachableHost } from './standby/board-address.ts';
import { alone } from './standby/role.ts';
import { Standby } from './standby/standby.ts';
import { assembleTerm, type Term } from './term.ts';

/** The journal of a small master stays below this; replaying so much takes about a second. */
const snapshotByteCount = 64 * 2 ** 20;

export interface MasterPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** What Mooncake reads there about the metadata server; nothing when absent. */
  readonly env?: Environment;
}

export interface Master {
  /** To be started in this order. */
  readonly services: readonly Service[];
  readonly core: MasterCore;
  readonly rpc: RpcServer<MasterProtocol>;
  /** The servers of ports that are fixed to a release. */
  readonly rpcByRelease: Term['rpc']['byRelease'];
  readonly admin: HttpService;
  /** What the operator should know: what is bound, who may reach it, which options do nothing. */
  readonly notices: readonly string[];
}

/** Wires the parts of a master together; nothing runs until the services are started. */
export function assembleMaster(options: MasterOptions, ports: MasterPorts): Master {
  const { clock, logger } = ports;
  const inside = options.enableHttpMetadataServer ? metadataServer(options, ports) : null;
  const cleaner = metadataCleaner(options, ports, inside);
  const directory =
    options.journalDir === undefined ? null : new JournalDirectory(options.journalDir);
  const journal = directory === null ? null : newJournal(directory, options, ports);
  const term = assembleTerm(options, {
    ...ports,
    cleaner,
    journal,
    gate: journal,
    role: () => alone,
  });
  const { core, rpc, api } = term;
  const keeper =
    journal === null || directory === null
      ? null
      : new JournalKeeper({ directory, journal, core, clock, logger });
  const admin = adminServer(options, () => api);
  const services = [inside, cleaner, keeper, ...term.services, admin].filter(
    (service) => service !== null,
  );
  const notices = [bindingNotice(options), ...noticesOf(options)];
  return { services, core, rpc: rpc.main, rpcByRelease: rpc.byRelease, admin, notices };
}

/** One of several masters: serves only while it leads. */
function assembleStandby(
  options: MasterOptions,
  ports: MasterPorts,
): Pick<Master, 'services' | 'admin' | 'notices'> {
  const { clock, random, logger, env = {} } = ports;
  const inside = options.enableHttpMetadataServer ? metadataServer(options, ports) : null;
  const cleaner = metadataCleaner(options, ports, inside);
  const board = boardAddress(options, env);
  const { clusterId } = options;
  const ttlSec = haLeaseTtlSec;
  const standby = new Standby({
    openBoard: () => openLeaderBoard({ address: board, clusterId, ttlSec, clock, random, logger }),
    address: formatAddress({ host: reachableHost(options.host), port: options.port }),
    ttlMs: ttlSec * 1e3,
    directory: options.journalDir === undefined ? null : new JournalDirectory(options.journalDir),
    journalSyncPeriodMs: options.journalSync,
    snapshotByteCount,
    assemble: (journal, gate, role) =>
      assembleTerm(options, { ...ports, cleaner, journal, gate, role }),
    ...{ clock, random, logger },
  });
  const admin = adminServer(options, () => standby.api);
  const services = [inside, cleaner, standby, admin].filter((service) => service !== null);
  return { services, admin, notices: [bindingNotice(options), ...noticesOf(options)] };
}

/** The services of a master, for a process that runs it; says in the log what they bind. */
export function createMaster(options: MasterOptions, ports: MasterPorts): readonly Service[] {
  const { services, notices } = options.enableHa
    ? assembleStandby(options, ports)
    : assembleMaster(options, ports);
  for (const notice of notices) ports.logger.info('master.notice', { notice });
  return services;
}

function adminServer(options: MasterOptions, api: () => Hono): HttpService {
  const listen = getRequestListener((request, bindings) => api().fetch(request, bindings));
  return new HttpService({
    name: 'master admin server (--metrics_port, --metrics_host)',
    host: options.metricsHost,
    port: options.metricsPort,
    listener: (request, response) => void listen(request, response),
    connectionCountMax: 256,
  });
}

function newJournal(
  directory: JournalDirectory,
  { journalSync: syncPeriodMs }: MasterOptions,
  { clock, random, logger }: MasterPorts,
): Journal {
  return new Journal({
    ...{ directory, open: openJournalFile, syncPeriodMs, snapshotByteCount, bootId: bootId() },
    fence: null,
    ...{ clock, random, logger },
  });
}

function metadataServer(options: MasterOptions, { clock, logger }: MasterPorts): MetadataServer {
  return new MetadataServer({
    host: options.httpMetadataServerHost,
    port: options.httpMetadataServerPort,
    dataDirectory: metadataDirectory(options),
    clock,
    logger,
  });
}

/** Beside the journal where there is one, unless masters share it: each has a metadata server of its own. */
function metadataDirectory(options: MasterOptions): string | null {
  const { httpMetadataServerDataDir, journalDir, enableHa } = options;
  if (httpMetadataServerDataDir !== undefined) return httpMetadataServerDataDir;
  return journalDir === undefined || enableHa ? null : join(journalDir, 'metadata');
}

function metadataCleaner(
  options: MasterOptions,
  { clock, logger, env = {} }: MasterPorts,
  inside: MetadataServer | null,
): MetadataCleaner | null {
  if (!options.enableMetadataCleanupOnTimeout) return null;
  const given = options.metadataServer;
  const open = cleanedMetadata({ given, inside, env, ports: { clock, logger } });
  if (open === null) return null;
  return new MetadataCleaner({ open, clusterId: options.metadataClusterId, clock, logger });
}

function bindingNotice(options: MasterOptions): string {
  const others = options.rpcPortFor.map(({ release, port }) => `${release} on port ${port}`);
  const rpc = [formatAddress(options), ...others].join(', for ');
  const admin = formatAddress({ host: options.metricsHost, port: options.metricsPort });
  return `RPC on ${rpc}, admin and metrics on http://${admin}; Mooncake's ports have no authentication: let only the cluster's machines reach them`;
}
