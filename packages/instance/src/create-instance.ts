import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import {
  type Clock,
  Fault,
  formatAddress,
  type Logger,
  type Random,
  Resource,
  type Service,
} from '@tsukimi/base';
import { Engine } from '@tsukimi/engine';
import type { ModelIdentity } from '@tsukimi/kv-connector';
import { KoffiLlamaBackend, modelDigest, readGgufHeader } from '@tsukimi/llama';
import { readMooncakeConfig } from '@tsukimi/store';
import { availableMemory } from './available-memory.ts';
import { InstanceApi } from './instance-api.ts';
import { InstanceMetrics } from './instance-metrics.ts';
import { InstanceServer } from './instance-server.ts';
import { openKvSharing, segmentByteCountOf } from './kv-sharing.ts';
import { type KvRole, parseKvTransferConfig } from './kv-transfer-config.ts';
import { kvByteCountPerToken, planMemory } from './memory-plan.ts';
import { resolveModelPath } from './model-path.ts';
import { type ServeOptions, serveNotices } from './options.ts';
import { type ProxyLeg, ProxyRegistration } from './proxy-registration.ts';
import { ServedModel } from './served-model.ts';

/** What an instance may touch of the world. */
export interface InstanceWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Of this program, for `/version`. */
  readonly version: string;
}

export interface Instance {
  /** In the order in which they start. */
  readonly services: readonly Service[];
  /** One sentence for each thing that the operator should know. */
  readonly notices: readonly string[];
  readonly server: InstanceServer;
  /** The name that clients ask for. */
  readonly modelName: string;
  readonly maxModelLen: number;
}

/**
 * Loads the model and puts an instance together. Whatever is wrong with its options is a fault that
 * names the option: INVALID_ARGUMENT, NOT_FOUND, MALFORMED or MISCONFIGURED. Nothing is left open then.
 */
export async function createInstance(
  options: ServeOptions,
  world: InstanceWorld,
): Promise<Instance> {
  const { clock, random, logger, env, version } = world;
  const transfer = parseKvTransferConfig(options);
  const notices = serveNotices(options, env);
  for (const field of transfer?.ignoredFields ?? []) {
    notices.push(`--kv-transfer-config: ${field} is accepted and means nothing here`);
  }
  const mooncake = transfer === null ? null : readMooncakeConfig(requiredPath(options), env);
  if (mooncake !== null) notices.push(...mooncake.notices);
  if (mooncake !== null && mooncake.localPort !== null) {
    notices.push(
      'mooncake.json: the port in local_hostname is ignored: every process takes one of its own',
    );
  }
  const cluster = transfer && mooncake ? { role: transfer.role, mooncake } : null;
  if (options.chunkTokens % chunkTokensStep !== 0) {
    throw new Fault(
      'INVALID_ARGUMENT',
      `--chunk-tokens: ${options.chunkTokens} is not a multiple of ${chunkTokensStep}`,
    );
  }
  const register = registrationOf(options, transfer?.role ?? null, mooncake?.localHostname ?? null);
  const path = resolveModelPath(options.model);
  const header = await readGgufHeader(path);
  const { maxModelLen } = planMemory(
    {
      weightsByteCount: header.byteCount,
      slotCount: options.maxNumSeqs,
      kvByteCountPerToken: kvByteCountPerToken(header),
      segmentByteCount: segmentByteCountOf(cluster),
      maxModelLen: options.maxModelLen ?? null,
      modelContextLength: header.contextLength ?? contextLengthUnknown,
    },
    { availableByteCount: availableMemory(), utilization: options.gpuMemoryUtilization },
  );
  const backend = await KoffiLlamaBackend.open();
  const weightsDigest = await modelDigest(path);
  const model = await backend.loadModel(path);
  try {
    const identity: ModelIdentity = {
      weightsDigest,
      rope: `${model.info.ropeType}/${model.info.ropeFrequencyScale}`,
      libraryVersion: backend.version,
    };
    const sharing = await openKvSharing({
      serve: options,
      cluster,
      model: identity,
      clock,
      random,
      logger,
    });
    const engine = new Engine({
      model,
      slotCount: options.maxNumSeqs,
      contextLength: maxModelLen,
      threads: options.threads ?? availableParallelism(),
      prefixStore: sharing.connector,
      waitingCountMax: options.maxQueueLen,
      prefillBudget: options.maxNumBatchedTokens,
      clock,
      random,
      logger,
    });
    const [first = options.model, ...others] = options.servedModelName;
    const served = new ServedModel({ model, names: [first, ...others], maxModelLen });
    const api = new InstanceApi({
      served,
      engine,
      metrics: new InstanceMetrics({
        modelName: served.name,
        engineStats: () => engine.stats(),
        connectorCounters: () => sharing.connector.counters,
        storeReachable: sharing.storeReachable,
      }),
      facts: {
        fingerprint: identityDigest(identity, options),
        tensorParallelSize: options.tensorParallelSize,
        kvRole: transfer?.role ?? null,
        version,
        pid: process.pid,
        engineId: [0, 1, 2, 3].map(() => random.uint32().toString(16).padStart(8, '0')).join(''),
      },
      clock,
      random,
      logger,
    });
    const server = new InstanceServer({ api, host: options.host, port: options.port });
    const weights = new Resource('model', () => model.close());
    return {
      services: [
        ...[weights, ...sharing.services, engine, server],
        // Told last that it is there, and first that it goes.
        ...(register === null
          ? []
          : [
              new ProxyRegistration({
                ...{ ...register, clock, random, logger },
                address: () => formatAddress({ host: register.host, port: server.port }),
              }),
            ]),
      ],
      notices,
      server,
      modelName: served.name,
      maxModelLen,
    };
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Tails of chunks are looked for at these steps. */
const chunkTokensStep = 16;
/** Of a file that does not say; llama.cpp's own fallback. */
const contextLengthUnknown = 512;

function requiredPath(options: ServeOptions): string {
  if (options.mooncakeConfig !== undefined && options.mooncakeConfig !== '') {
    return options.mooncakeConfig;
  }
  throw new Fault(
    'INVALID_ARGUMENT',
    'MOONCAKE_CONFIG_PATH is not set: --kv-transfer-config needs the path of mooncake.json in it, or in --mooncake-config',
  );
}

/** Null when no proxy is named. */
function registrationOf(
  { registerWith, registerAs, registerTtl, adminApiKey, host }: ServeOptions,
  role: KvRole | null,
  localHostname: string | null,
) {
  if (registerWith.length === 0) return null;
  if (adminApiKey === undefined) {
    throw new Fault(
      'INVALID_ARGUMENT',
      '--register-with needs the key of the proxy: ADMIN_API_KEY',
    );
  }
  const isWildcard = host === '0.0.0.0' || host === '::';
  const reachedAt = isWildcard ? localHostname : host;
  if (reachedAt === null) {
    throw new Fault(
      'INVALID_ARGUMENT',
      `--register-with needs an address that proxies reach: give --host one in place of ${host}`,
    );
  }
  const leg: ProxyLeg = registerAs ?? (role === 'kv_consumer' ? 'decode' : 'prefill');
  return { urls: registerWith, adminApiKey, leg, host: reachedAt, ttlMs: registerTtl * 1_000 };
}

/**
 * Equal where instances can share KV. It leaves out the layout of the KV, which follows from the rest,
 * and is known before the engine has started.
 */
function identityDigest(identity: ModelIdentity, options: ServeOptions): string {
  const { weightsDigest, rope, libraryVersion } = identity;
  const { chunkTokens, tensorParallelSize } = options;
  return createHash('sha256')
    .update(JSON.stringify([weightsDigest, rope, libraryVersion, chunkTokens, tensorParallelSize]))
    .digest('hex')
    .slice(0, 32);
}
