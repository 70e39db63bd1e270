import { formatAddress } from '@tsukimi/base';
import { z } from 'zod';
import type { PdFacts, PdHint } from '../core/pd-facts.ts';
import { originOf, type PoolInstance } from '../core/pool-instance.ts';

/** The body of a good answer to a GET; null for any other, and for none. */
export type Look = (origin: string, path: string) => Promise<string | null>;

/** Where MooncakeConnector's and SGLang's bootstrap servers listen unless they are told otherwise. */
const bootstrapPortDefault = 8_998;

/** What SGLang's `/server_info` says, in part; earlier releases have `/get_server_info`. */
const sglangInfo = z.object({
  disaggregation_mode: z.enum(['prefill', 'decode']),
  disaggregation_bootstrap_port: z.number().int().positive().nullish().catch(null),
});
/** MooncakeConnector's `/query`: an engine for each data-parallel rank. */
const engines = z.record(z.string(), z.looseObject({ engine_id: z.string().min(1).max(256) }));

/**
 * Which protocol a foreign instance speaks, and what must be known for it before any request. Besides the
 * instance itself only a bootstrap server on its host is asked. `sole`: no other prefill instance is on
 * its host, so that a bootstrap server at the default port is its own.
 */
export async function discoverPd(
  { origin, endpoint, kind }: Pick<PoolInstance, 'origin' | 'endpoint' | 'kind'>,
  hint: PdHint,
  sole: boolean,
  look: Look,
): Promise<PdFacts> {
  const { protocol, bootstrapPort, kvPort } = hint;
  const bootstrap = async (secure: boolean) => {
    if (kind !== 'prefill') return null;
    const port = bootstrapPort ?? bootstrapPortDefault;
    const address = originOf({ host: endpoint.host, port, secure });
    const engineIds = ranked(parsed(engines, await look(address, '/query')) ?? {});
    return engineIds.length === 0 ? null : { address, engineIds };
  };
  const secure = endpoint.secure === true;
  const sglang = async () =>
    parsed(sglangInfo, await look(origin, '/server_info')) ??
    parsed(sglangInfo, await look(origin, '/get_server_info'));
  switch (protocol) {
    case 'nixl_push':
      return { protocol, side: sideOf(endpoint.host, hint) };
    case 'mooncake': {
      // vLLM's own speaks HTTP, also where the instance has a certificate; an operator who says it knows.
      const found = (await bootstrap(secure)) ?? (secure ? await bootstrap(false) : null);
      return { protocol, bootstrap: found };
    }
    case 'p2p_nccl':
      return { protocol, zmqAddress: formatAddress({ host: endpoint.host, port: kvPort ?? 0 }) };
    case 'sglang': {
      const port = bootstrapPort ?? (await sglang())?.disaggregation_bootstrap_port ?? null;
      return { protocol, bootstrapPort: port };
    }
    case 'auto': {
      const info = await sglang();
      if (info !== null) {
        const port = bootstrapPort ?? info.disaggregation_bootstrap_port ?? null;
        return { protocol: 'sglang', bootstrapPort: port };
      }
      const known = sole || bootstrapPort !== undefined;
      const found = known ? await bootstrap(secure) : null;
      return found === null ? { protocol } : { protocol: 'mooncake', bootstrap: found };
    }
    case 'tsukimi':
    case 'store':
    case 'lmcache':
    case 'nixl':
    case 'mooncake_v0':
      return { protocol };
  }
}

/** By rank. */
function ranked(told: z.infer<typeof engines>): string[] {
  return Object.entries(told)
    .toSorted(([one], [other]) => Number(one) - Number(other))
    .map(([, { engine_id: engineId }]) => engineId);
}

function sideOf(host: string, hint: PdHint): Extract<PdFacts, { protocol: 'nixl_push' }>['side'] {
  const { engineId, kvPort, tensorParallelSize = 1, pipelineParallelSize = 1 } = hint;
  if (engineId === undefined || kvPort === undefined) return null;
  return { engineId, host, port: kvPort, tensorParallelSize, pipelineParallelSize };
}

function parsed<T>(schema: z.ZodType<T>, text: string | null): T | null {
  try {
    return text === null ? null : (schema.safeParse(JSON.parse(text)).data ?? null);
  } catch {
    return null;
  }
}
