import type { PoolInstance } from '../core/pool-instance.ts';
import { JsonMembers } from '../json-members.ts';
import { cachedTokenCountIn } from './answers.ts';
import { decodeBody } from './decode-body.ts';
import { prefillBody } from './prefill-body.ts';
import type { PdProtocol } from './protocol.ts';

/** Members by which a prefill instance is asked to keep the KV and to tell where it is. */
export const keepsForDecode =
  '"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,' +
  '"remote_block_ids":null,"remote_host":null,"remote_port":null';

/**
 * vLLM's NixlConnector in its pull mode: the prefill instance keeps the blocks and answers with
 * `kv_transfer_params`, which the decode leg repeats as they are, and by which the decode instance
 * reads the blocks and has them freed. An answer without them is no failure: the prompt was shorter
 * than a block, or the engine has another connector.
 */
export const nixl: PdProtocol = {
  name: 'nixl',
  order: 'prefill-first',
  handover: 'single-use',
  release: 'deliver-then-abort',
  prefillLeg: ({ path, headers, members }) => ({
    path,
    headers,
    body: prefillBody(
      { path, members },
      { set: { kv_transfer_params: `{${keepsForDecode}}` }, endsByLength: true },
    ),
  }),
  handoverOf(answer, pair) {
    // Most answers of an engine without such a connector need no parsing to see that.
    if (!/"kv_transfer_params"\s*:\s*\{\s*"/.test(answer.toString('latin1'))) return null;
    const params = JsonMembers.tryParse(answer)?.raw('kv_transfer_params') ?? null;
    if (params === null || !/^\{\s*"/.test(params.toString('latin1', 0, 64))) return null;
    return {
      cachedTokenCount: cachedTokenCountIn(answer),
      kvTransferParams: reachable(params, pair.prefill),
      held: true,
    };
  },
  decodeLeg(request, _pair, handover) {
    const params = handover?.kvTransferParams ?? null;
    const set: Record<string, string> = params === null ? {} : { kv_transfer_params: params };
    return { path: request.path, headers: request.headers, body: decodeBody(request, { set }) };
  },
};

/**
 * An instance that was not told the address of its side channel says `localhost`, which is right for
 * decode instances on its own host alone.
 */
function reachable(params: Buffer, prefill: PoolInstance | null): string {
  const members = JsonMembers.tryParse(params);
  const told = members?.scalar('remote_host');
  const host = prefill?.endpoint.host ?? '';
  if (members == null || typeof told !== 'string' || !isOwnHost(told) || isOwnHost(host))
    return params.toString();
  return members.patched({ set: { remote_host: JSON.stringify(host) } }).toString();
}

function isOwnHost(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|::1?|)$/.test(host);
}
