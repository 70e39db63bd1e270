import {
  type Clock,
  Fault,
  FollowedFiles,
  type Logger,
  type Random,
  type Service,
} from '@tsukimi/base';
import { ClientGate } from './client-gate.ts';
import { Admission } from './core/admission.ts';
import { ClientKeys, clientKeysIn, plainKey } from './core/client-keys.ts';
import { HeldMemory } from './core/held-memory.ts';
import { InstancePool, type PoolEvent } from './core/instance-pool.ts';
import { RetryBudget } from './core/retry-budget.ts';
import { Cors } from './cors.ts';
import { deadlines as defaults, limits } from './deadlines.ts';
import { Entrance } from './entrance.ts';
import { builtInPolicies, type LegPolicies } from './load-policies.ts';
import { InstanceAdmin } from './membership/admin.ts';
import { AutoRole, type AutoRoleOptions } from './membership/auto-role.ts';
import { GenerationProbe } from './membership/generation-probe.ts';
import { instancesIn } from './membership/instance-list.ts';
import { InstanceWatch } from './membership/instance-watch.ts';
import { Membership } from './membership/membership.ts';
import { ProxyMetrics } from './metrics.ts';
import { type ProxyOptions, pdHintOf } from './options.ts';
import { OutsideView } from './outside-view.ts';
import { alone, type Peers } from './peers.ts';
import { Sharing } from './sharing.ts';
import { AccessLog } from './telemetry/access-log.ts';
import { DecisionLog } from './telemetry/decision-log.ts';
import type { Tracer } from './telemetry/tracer.ts';
import { followCertificate, upstreamTls } from './tls.ts';
import { Upstream } from './upstream.ts';
import { loadStoreHandover } from './vllm-store/load-store-handover.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface ProxyParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env: Environment;
  /** Where the access log goes, whole lines at a time. */
  readonly print: (text: string) => void;
  /** From `loadPolicies`, which files need; without, those that are built in. */
  readonly policies?: LegPolicies;
  /** Makes spans of requests; it is started and stopped with the proxy. */
  readonly tracer?: (Tracer & Service) | null;
  /** The other workers of the same proxy, where there are any. */
  readonly peers?: Peers;
}

/** The services of one proxy in the order they start; stopping finishes requests first. */
export interface Proxy {
  readonly services: readonly Service[];
  readonly entrance: Entrance;
  readonly pool: InstancePool;
  readonly admission: Admission;
  readonly memory: HeldMemory;
}

/** What a process runs. */
export async function createProxy(
  options: ProxyOptions,
  parts: ProxyParts,
): Promise<readonly Service[]> {
  return (await assembleProxy(options, parts)).services;
}

/** `createProxy` with the parts in reach. */
export async function assembleProxy(options: ProxyOptions, parts: ProxyParts): Promise<Proxy> {
  const { clock, random, logger, peers = alone } = parts;
  const { connectMs, firstByteMs, handoverMs, gapMs, probeMs } = options;
  const deadlines = { ...defaults, connectMs, firstByteMs, handoverMs, gapMs, probeMs };
  const pool = new InstancePool({
    model: options.model,
    policies: parts.policies ?? builtInPolicies(options),
    random,
    instanceCountMax: limits.instanceCountMax,
    clock,
    onEvent: (event) => onPoolEvent(event),
  });
  const authorization =
    options.openaiApiKey === undefined ? null : bearer('OPENAI_API_KEY', options.openaiApiKey);
  const upstream = new Upstream({
    clock,
    connectMs,
    idleConnectionCountMax: limits.idleConnectionCountMax,
    tls: upstreamTls(options),
  });
  const metrics = new ProxyMetrics();
  const watch = new InstanceWatch({
    ...{ pool, upstream, clock, random, deadlines, authorization },
    pd: pdHintOf(options),
  });
  const membership = new Membership({ pool, watch, clock, logger, deadlines });
  const onPoolEvent = (event: PoolEvent) => {
    logEvent(logger, event);
    const { instance } = event;
    if (event.kind === 'suspect') {
      watch.suspect(instance);
      sharing.suspect(instance);
    }
    if (event.kind === 'replaced') upstream.dropIdle(instance.origin);
    if (event.kind === 'left') {
      watch.forget(instance);
      membership.left(instance);
      // It may be there for the other leg too.
      if (pool.instances.every(({ origin }) => origin !== instance.origin)) {
        upstream.drop(instance.origin);
      }
    }
  };
  for (const endpoint of options.prefill) membership.join('prefill', endpoint, 'flags');
  for (const endpoint of options.decode) membership.join('decode', endpoint, 'flags');
  const admission = new Admission({
    activeCountMax: Math.ceil(options.inFlightMax / peers.workerCount),
    queueLengthMax: Math.ceil(options.queueMax / peers.workerCount),
  });
  const memory = new HeldMemory(limits.heldByteCountMax);
  const storeHandover = await loadStoreHandover(options, parts);
  const { keys, followed } = clientKeys(options, parts);
  const sharing = new Sharing({ peers, clock, pool, keys, membership, watch });
  const gate = new ClientGate({ keys, clock });
  const decisions = new DecisionLog({
    prefill: options.prefillScheduling ?? options.scheduling,
    decode: options.decodeScheduling ?? options.scheduling,
  });
  const accessLog =
    options.accessLog === 'json' ? new AccessLog({ clock, write: parts.print }) : null;
  const admin = new InstanceAdmin({
    ...{ pool, membership, deadlines, peers },
    adminApiKey: options.adminApiKey ?? null,
  });
  const entrance: Entrance = new Entrance({
    host: options.host,
    port: options.port,
    isSecure: options.sslCertfile !== undefined,
    clock,
    pool,
    admission,
    memory,
    gate,
    cors: new Cors({ allowedOrigins: options.allowedOrigins }),
    admin,
    view: new OutsideView({
      ...{ clock, pool, admission, memory, admin, upstream, metrics, decisions, peers },
      scheduling: options.scheduling,
    }),
    metrics,
    accessLog,
    tracer: parts.tracer ?? null,
    passThrough: options.passThrough,
    exchange: {
      clock,
      random,
      logger,
      pool,
      upstream,
      metrics,
      generationProbe: new GenerationProbe({
        ...{ pool, upstream, clock, logger, deadlines, authorization },
      }),
      deadlines,
      authorization,
      storeHandover,
      keepsAuthorization: gate.keepsAuthorization,
      retryBudget: new RetryBudget(limits.retries, clock.monotonicMs()),
      hedgeMs: options.hedgeMs,
      skipPrefillBelowTokens: options.skipPrefillBelowTokens,
      objectives: { ttftMs: options.ttftObjectiveMs, tpotMs: options.tpotObjectiveMs },
      decisions,
      namesInstances: !options.hideInstances,
    },
    requestIdPrefix: [0, 1, 2].map(() => random.uint32().toString(16).padStart(8, '0')).join(''),
  });
  const certificate = followCertificate(options, parts, entrance);
  const services = [
    ...followed,
    ...followInstances(options, parts, membership),
    ...(certificate === null ? [] : [certificate]),
    // They are stopped after whoever has something to tell them.
    ...(accessLog === null ? [] : [accessLog]),
    ...(parts.tracer == null ? [] : [parts.tracer]),
    ...(storeHandover === null ? [] : [storeHandover]),
    sharing,
    watch,
    membership,
    ...autoRole(options, { pool, membership, clock, logger }),
    entrance,
  ];
  return { services, entrance, pool, admission, memory };
}

/** Those of `--api-key` never change; the file's follow the file. */
function clientKeys(
  { apiKey, apiKeysFile }: ProxyOptions,
  { clock, logger }: ProxyParts,
): { readonly keys: ClientKeys; readonly followed: readonly Service[] } {
  const plain = apiKey.map((key, at) => plainKey(key, `--api-key ${at + 1}`));
  const keys = new ClientKeys(plain, plain.length > 0 || apiKeysFile !== undefined);
  if (apiKeysFile === undefined) return { keys, followed: [] };
  const followed = new FollowedFiles({
    name: 'api keys',
    paths: [apiKeysFile],
    clock,
    onTexts: ([text = '']) => keys.replace([...plain, ...clientKeysIn(text, apiKeysFile)]),
    onFlaw: (reason) => logger.error('proxy.api_keys_unusable', { reason }),
  });
  return { keys, followed: [followed] };
}

function autoRole(
  { autoRole: asked, workers }: ProxyOptions,
  parts: AutoRoleOptions,
): readonly Service[] {
  if (!asked) return [];
  if (workers > 1) {
    throw new Fault('INVALID_ARGUMENT', '--auto-role decides for one process; use --workers 1');
  }
  return [new AutoRole(parts)];
}

/** Those of `--config` join before any is asked for the first time. */
function followInstances(
  { config }: ProxyOptions,
  { clock, logger }: ProxyParts,
  membership: Membership,
): readonly Service[] {
  if (config === undefined) return [];
  const followed = new FollowedFiles({
    name: 'instances',
    paths: [config],
    clock,
    onTexts: ([text = '']) => membership.follow(instancesIn(text, config)),
    onFlaw: (reason) => logger.error('proxy.instances_unusable', { reason }),
  });
  return [followed];
}

function bearer(what: string, key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new Fault('INVALID_ARGUMENT', `${what}: the key has characters that no header may have`);
  }
  return `Bearer ${key}`;
}

function logEvent(logger: Logger, event: PoolEvent): void {
  const { kind, address, state } = event.instance;
  const fields = { kind, instance: address };
  const reason = 'reason' in state ? state.reason : undefined;
  if (event.kind === 'left') logger.info('proxy.instance_left', fields);
  else if (event.kind === 'role') {
    logger.info('proxy.instance_role', { ...fields, before: event.before });
  } else if (event.kind === 'replaced') {
    logger.warn('proxy.instance_replaced', { ...fields, reason: event.reason });
  } else if (event.kind === 'suspect') {
    // What happened to the attempt is logged where it was made.
  } else if (state.name === 'up') logger.info('proxy.instance_up', fields);
  else if (state.name === 'mismatch') logger.error('proxy.wrong_model', { ...fields, reason });
  else logger.warn('proxy.instance_down', { ...fields, before: event.before.name, reason });
}
