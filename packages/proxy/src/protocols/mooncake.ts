import { factsOf } from '../core/pd-facts.ts';
import { decodeBody } from './decode-body.ts';
import { pushedOf } from './nixl-push.ts';
import { prefillBody } from './prefill-body.ts';
import type { Pair, PdProtocol } from './protocol.ts';
import { store } from './store.ts';

/**
 * vLLM's own MooncakeConnector, also beside MooncakeStoreConnector in a MultiConnector: the decode
 * instance finds the prefill instance's workers at its bootstrap server and asks for `transfer_id`, and
 * they write into its memory. Which data-parallel rank does the prefill is for us to say, by a header.
 */
export const mooncake: PdProtocol = {
  name: 'mooncake',
  order: 'together',
  handover: 'single-use',
  release: 'deliver-then-abort',
  fits: (pair) => prefillRank(pair) !== null,
  prefillLeg({ path, headers, members }, pair) {
    const params = `{"do_remote_decode":true,"do_remote_prefill":false,"transfer_id":"xfer-${pair.attemptId}"}`;
    const body = prefillBody(
      { path, members },
      { set: { kv_transfer_params: params }, endsByLength: true },
    );
    const rank = prefillRank(pair)?.rank ?? 0;
    return { path, headers: [...headers, 'x-data-parallel-rank', String(rank)], body };
  },
  handoverOf: pushedOf,
  decodeLeg(request, pair, handover) {
    const from = prefillRank(pair);
    if (from === null) return store.decodeLeg(request, pair, handover);
    const { path, headers } = request;
    const params = {
      do_remote_decode: false,
      do_remote_prefill: true,
      remote_bootstrap_addr: from.address,
      remote_engine_id: from.engineId,
      transfer_id: `xfer-${pair.attemptId}`,
    };
    const body = decodeBody(request, { set: { kv_transfer_params: JSON.stringify(params) } });
    return { path, headers, body };
  },
};

interface PrefillRank {
  readonly rank: number;
  readonly engineId: string;
  /** Of the bootstrap server. */
  readonly address: string;
}

/** The same for both legs of a pair. Null where nothing is known of the prefill instance. */
function prefillRank({ prefill, room }: Pair): PrefillRank | null {
  const bootstrap = factsOf(prefill, 'mooncake')?.bootstrap ?? null;
  if (bootstrap === null || bootstrap.engineIds.length === 0) return null;
  const rank = Number(room % BigInt(bootstrap.engineIds.length));
  return { rank, engineId: bootstrap.engineIds[rank] as string, address: bootstrap.address };
}
