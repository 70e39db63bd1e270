import { type Clock, Fault, type Logger, type Random, type Service } from '@tsukimi/base';
import { InstanceAdmin } from './admin.ts';
import { Admission } from './core/admission.ts';
import { InstancePool, type InstanceState, type PoolInstance } from './core/instance-pool.ts';
import { policies } from './core/policies.ts';
import { RetryBudget } from './core/retry-budget.ts';
import { deadlines as defaults, limits } from './deadlines.ts';
import { Entrance } from './entrance.ts';
import { InstanceWatch } from './instance-watch.ts';
import { ProxyMetrics } from './metrics.ts';
import type { ProxyOptions } from './options.ts';
import { Upstream } from './upstream.ts';

export interface ProxyParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
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
  const { connectMs, firstByteMs, gapMs, probeMs } = options;
  const deadlines = { ...defaults, connectMs, firstByteMs, gapMs, probeMs };
  const policy = policies[options.scheduling];
  const pool = new InstancePool({
    model: options.model,
    policies: { prefill: policy, decode: policy },
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
  const entrance = new Entrance({
    host: options.host,
    port: options.port,
    scheduling: options.scheduling,
    clock,
    pool,
    admission,
    admin: new InstanceAdmin({ pool, watch, adminApiKey: options.adminApiKey ?? null }),
    metrics,
    exchange: {
      ...{ clock, random, logger, pool, upstream, metrics, deadlines, authorization },
      retryBudget: new RetryBudget(limits.retries, clock.monotonicMs()),
      hedgeMs: options.hedgeMs,
    },
    requestIdPrefix: [0, 1, 2].map(() => random.uint32().toString(16).padStart(8, '0')).join(''),
  });
  return { services: [watch, entrance], entrance, pool, admission };
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
