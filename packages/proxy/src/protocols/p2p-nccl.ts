import { factsOf } from '../core/pd-facts.ts';
import { cachedTokenCountIn } from './answers.ts';
import { decodeBody } from './decode-body.ts';
import { prefillBody } from './prefill-body.ts';
import type { LegSource, Pair, PdProtocol } from './protocol.ts';

/**
 * vLLM's P2pNcclConnector: the request id, the same on both legs, names the ZMQ sockets of both, and
 * the prefill instance sends the KV there while it answers. From vLLM 0.14 on the instances need
 * `VLLM_DISABLE_REQUEST_ID_RANDOMIZATION=1`. Without a partner the engine cannot read its request id.
 */
export const p2pNccl: PdProtocol = {
  name: 'p2p_nccl',
  order: 'prefill-first',
  handover: 'single-use',
  release: 'deliver-then-abort',
  fits: ({ prefill, decode }) =>
    factsOf(prefill, 'p2p_nccl') !== null && factsOf(decode, 'p2p_nccl') !== null,
  prefillLeg: ({ path, headers, members }, pair) => ({
    path,
    headers: withAddresses(headers, pair),
    body: prefillBody({ path, members }),
  }),
  handoverOf: (answer) => ({
    cachedTokenCount: cachedTokenCountIn(answer),
    kvTransferParams: null,
    held: true,
  }),
  decodeLeg: (request, pair) => ({
    path: request.path,
    headers: withAddresses(request.headers, pair),
    body: decodeBody(request),
  }),
};

function withAddresses(headers: LegSource['headers'], pair: Pair): readonly string[] {
  const prefill = factsOf(pair.prefill, 'p2p_nccl');
  const decode = factsOf(pair.decode, 'p2p_nccl');
  // One of the two has become another engine since it was chosen, which finds nothing of this request.
  if (prefill === null || decode === null) return headers;
  const addresses = `___prefill_addr_${prefill.zmqAddress}___decode_addr_${decode.zmqAddress}`;
  const replaced = [...headers];
  const at = replaced.indexOf('x-request-id');
  replaced.splice(
    at < 0 ? replaced.length : at,
    2,
    'x-request-id',
    `${addresses}_${pair.attemptId}`,
  );
  return replaced;
}
