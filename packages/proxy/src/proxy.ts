import {
  type Clock,
  Fault,
  FollowedFiles,
  type Logger,
  type Random,
  type Service,
} from '@tsukimi/base';
import { InstanceAdmin } from './admin.ts';
import { ClientGate } from './client-gate.ts';
import { Admission } from './core/admission.ts';
import { ClientKeys, clientKeysIn, plainKey } from './core/client-keys.ts';
import { InstancePool, type InstanceState, type PoolInstance } from './core/instance-pool.ts';
import { policies } from './core/policies/by-name.ts';
import { Cors } from './cors.ts';
import { deadlines as defaults, limits } from './deadlines.ts';
import { Entrance } from './entrance.ts';
import { InstanceWatch } from './instance-watch.ts';
import { ProxyMetrics } from './metrics.ts';
import type { ProxyOptions } from './options.ts';
import { Upstream } from './upstream.ts';
import { createStoreHandover } from './vllm-store/create-store-handover.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface ProxyParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env: Environment;
}

/** The services of one proxy in the order they start; stopping finishes requests first. */
export interface Proxy {
  readonly services: readonly Service[];
  readonly entrance: Entrance;
  readonly pool: InstancePool;
  readonly admission: Admission;
}

/** What a process runs. */
export function createProxy(options: ProxyOptions, parts: ProxyParts): readonly Service[] {
  return assembleProxy(options, parts).services;
}

/** `createProxy` with the parts in reach. */
export function assembleProxy(options: ProxyOptions, parts: ProxyParts): Proxy {
  const { clock, random, logger } = parts;
  const { connectMs, firstByteMs, handoverMs, gapMs, probeMs } = options;
  const deadlines = { ...defaults, connectMs, firstByteMs, handoverMs, gapMs, probeMs };
  const pool = new InstancePool({
    model: options.model,
    policies: {
      prefill: policies[options.prefillScheduling ?? options.scheduling],
      decode: policies[options.decodeScheduling ?? options.scheduling],
    },
    random,
    instanceCountMax: limits.instanceCountMax,
    onChange: (instance, before) => logChange(logger, instance, before),
  });
  for (const address of options.prefill) pool.add('prefill', address);
  for (const address of options.decode) pool.add('decode', address);
  const authorization =
    options.openaiApiKey === undefined ? null : bearer('OPENAI_API_KEY', options.openaiApiKey);
  const upstream = new Upstream({
    clock,
    connectMs,
    idleConnectionCountMax: limits.idleConnectionCountMax,
  });
  const metrics = new ProxyMetrics();
  const watch = new InstanceWatch({ pool, upstream, clock, logger, deadlines, authorization });
  const admission = new Admission({
    activeCountMax: options.inFlightMax,
    queueLengthMax: options.queueMax,
  });
  const storeHandover = createStoreHandover(options, parts);
  const { keys, followed } = clientKeys(options, parts);
  const gate = new ClientGate({ keys, clock });
  const entrance = new Entrance({
    host: options.host,
    port: options.port,
    scheduling: options.scheduling,
    clock,
    pool,
    admission,
    gate,
    cors: new Cors({ allowedOrigins: options.allowedOrigins }),
    admin: new InstanceAdmin({ pool, watch, adminApiKey: options.adminApiKey ?? null }),
    metrics,
    exchange: {
      clock,
      random,
      logger,
      pool,
      upstream,
      metrics,
      deadlines,
      authorization,
      storeHandover,
      keepsAuthorization: () => gate.keepsAuthorization,
    },
    requestIdPrefix: [0, 1, 2].map(() => random.uint32().toString(16).padStart(8, '0')).join(''),
  });
  const services = [
    ...followed,
    ...(storeHandover === null ? [] : [storeHandover]),
    watch,
    entrance,
  ];
  return { services, entrance, pool, admission };
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

function bearer(what: string, key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new Fault('INVALID_ARGUMENT', `${what}: the key has characters that no header may have`);
  }
  return `Bearer ${key}`;
}

function logChange(logger: Logger, instance: PoolInstance, before: InstanceState): void {
  const { kind, address, state } = instance;
  const fields = { kind, instance: address };
  if (state.name === 'up') logger.info('proxy.instance_up', fields);
  else if (state.name === 'mismatch') {
    logger.error('proxy.wrong_model', { ...fields, reason: state.reason });
  } else {
    const reason = 'reason' in state ? state.reason : undefined;
    logger.warn('proxy.instance_down', { ...fields, before: before.name, reason });
  }
}
