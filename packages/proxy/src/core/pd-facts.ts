import type { PoolInstance } from './pool-instance.ts';

/** How a prefill and a decode instance are told of each other; also the values of `--pd-protocol`. */
export const pdProtocolNames = [
  'auto',
  'tsukimi',
  'store',
  'lmcache',
  'nixl',
  'nixl_push',
  'mooncake',
  'mooncake_v0',
  'p2p_nccl',
  'sglang',
] as const;

export type PdProtocolName = (typeof pdProtocolNames)[number];

/** What is known of an instance's protocol before any request. */
export type PdFacts =
  | { readonly protocol: 'auto' | 'tsukimi' | 'store' | 'lmcache' | 'nixl' | 'mooncake_v0' }
  /** Null for decode instances, of which nothing needs to be known. */
  | { readonly protocol: 'nixl_push'; readonly side: NixlSide | null }
  | { readonly protocol: 'mooncake'; readonly bootstrap: MooncakeBootstrap | null }
  /** `host:port` of its ZMQ socket, which prefill and decode instances have. */
  | { readonly protocol: 'p2p_nccl'; readonly zmqAddress: string }
  /** The port is null where the engine's own default holds. */
  | { readonly protocol: 'sglang'; readonly bootstrapPort: number | null };

/** What an operator says of an instance's protocol; what is left out is found out, or its engine's default. */
export interface PdHint {
  readonly protocol: PdProtocolName;
  /** Of the bootstrap server of `mooncake` or `sglang`. */
  readonly bootstrapPort?: number | undefined;
  /** Of the ZMQ socket of `p2p_nccl`, or the side channel of `nixl_push`. */
  readonly kvPort?: number | undefined;
  /** The rest is for `nixl_push`, whose engines tell nobody. */
  readonly engineId?: string | undefined;
  readonly tensorParallelSize?: number | undefined;
  readonly pipelineParallelSize?: number | undefined;
}

/** Where a prefill instance's NIXL agent is found. */
interface NixlSide {
  readonly engineId: string;
  readonly host: string;
  readonly port: number;
  readonly tensorParallelSize: number;
  readonly pipelineParallelSize: number;
}

interface MooncakeBootstrap {
  /** `http://host:port` of its bootstrap server. */
  readonly address: string;
  /** By data-parallel rank; made anew at every start of the engine unless configured. */
  readonly engineIds: readonly string[];
}

/** The facts of `instance` if it speaks `protocol`. */
export function factsOf<Name extends PdProtocolName>(
  instance: PoolInstance | null,
  protocol: Name,
): Extract<PdFacts, { protocol: Name }> | null {
  const facts = instance?.identity?.pd ?? null;
  return facts?.protocol === protocol ? (facts as Extract<PdFacts, { protocol: Name }>) : null;
}

const needPartner: readonly (PdProtocolName | undefined)[] = ['sglang', 'p2p_nccl'];

/** Whether it can do all of a request, without a partner. */
export function servesAlone({ identity }: PoolInstance): boolean {
  return !needPartner.includes(identity?.pd?.protocol);
}

/** Whether the two may understand each other, as far as is known before any request. */
export function speakTheSame(prefill: PoolInstance, decode: PoolInstance): boolean {
  const one = prefill.identity?.pd?.protocol ?? 'auto';
  const other = decode.identity?.pd?.protocol ?? 'auto';
  if (one === other) return true;
  return (one === 'auto' || other === 'auto') && servesAlone(prefill) && servesAlone(decode);
}
