import { factsOf } from '../core/pd-facts.ts';
import { JsonMembers } from '../json-members.ts';
import { cachedTokenCountIn, endedByLength } from './answers.ts';
import { decodeBody } from './decode-body.ts';
import { keepsForDecode } from './nixl.ts';
import { prefillBody } from './prefill-body.ts';
import type { Handover, LegSource, PdProtocol } from './protocol.ts';
import { store } from './store.ts';

/**
 * vLLM's NixlPushConnector: both legs are sent at once, the decode instance registers its blocks at the
 * prefill instance, which writes into them. The two meet by `transfer_id`; where the prefill instance
 * is must be known beforehand (`--pd-protocol`).
 */
export const nixlPush: PdProtocol = {
  name: 'nixl_push',
  order: 'together',
  handover: 'single-use',
  release: 'deliver-then-abort',
  fits: ({ prefill }) => factsOf(prefill, 'nixl_push')?.side != null,
  prefillLeg: ({ path, headers, members }, { attemptId }) => ({
    path,
    headers,
    body: prefillBody(
      { path, members },
      {
        set: { kv_transfer_params: `{${keepsForDecode},"transfer_id":"xfer-${attemptId}"}` },
        endsByLength: true,
      },
    ),
  }),
  handoverOf: pushedOf,
  decodeLeg(request, pair, handover) {
    const side = factsOf(pair.prefill, 'nixl_push')?.side ?? null;
    if (side === null) return store.decodeLeg(request, pair, handover);
    const { path, headers } = request;
    const params = {
      do_remote_decode: false,
      do_remote_prefill: true,
      remote_engine_id: side.engineId,
      remote_host: side.host,
      remote_port: side.port,
      tp_size: side.tensorParallelSize,
      pp_size: side.pipelineParallelSize,
      remote_request_id: requestIdOf(request),
      transfer_id: `xfer-${pair.attemptId}`,
    };
    const body = decodeBody(request, { set: { kv_transfer_params: JSON.stringify(params) } });
    return { path, headers, body };
  },
};

/** A prefill instance pushes only what ended by its length; the decode instance waits for it. */
export function pushedOf(answer: Buffer): Handover | null {
  const members = JsonMembers.tryParse(answer);
  if (members === null || !endedByLength(members)) return null;
  return { cachedTokenCount: cachedTokenCountIn(answer), kvTransferParams: null, held: true };
}

function requestIdOf({ headers }: LegSource): string {
  return headers[headers.indexOf('x-request-id') + 1] ?? '';
}
