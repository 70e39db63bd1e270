import { type PdProtocolName, speakTheSame } from '../core/pd-facts.ts';
import { auto } from './auto.ts';
import { lmcache } from './lmcache.ts';
import { mooncake } from './mooncake.ts';
import { mooncakeV0 } from './mooncake-v0.ts';
import { nixl } from './nixl.ts';
import { nixlPush } from './nixl-push.ts';
import { p2pNccl } from './p2p-nccl.ts';
import type { Pair, PdProtocol } from './protocol.ts';
import { sglang } from './sglang.ts';
import { store } from './store.ts';
import { tsukimi } from './tsukimi.ts';

const protocols: Readonly<Record<PdProtocolName, PdProtocol>> = {
  auto,
  tsukimi,
  store,
  lmcache,
  nixl,
  nixl_push: nixlPush,
  mooncake,
  mooncake_v0: mooncakeV0,
  p2p_nccl: p2pNccl,
  sglang,
};

/**
 * What both instances of a pair understand. The prefill instance's protocol decides, since most decode
 * instances show nothing of theirs; where the two cannot work together, that is `store`.
 */
export function protocolOf(pair: Pair): PdProtocol {
  const { prefill, decode } = pair;
  if (prefill?.identity?.ours === true || decode?.identity?.ours === true) return tsukimi;
  if (prefill === null) return store;
  const protocol = protocols[prefill.identity?.pd?.protocol ?? 'auto'];
  if (decode !== null && !speakTheSame(prefill, decode)) return store;
  return protocol.fits?.(pair) === false ? store : protocol;
}
