import { keepsForDecode, nixl } from './nixl.ts';
import { prefillBody } from './prefill-body.ts';
import type { PdProtocol } from './protocol.ts';
import { store, tellsPromptTokenIds } from './store.ts';

/**
 * vLLM, or an engine like it, of which only its answers show how it hands over: asked as NIXL is, one with
 * such a connector answers with `kv_transfer_params`, and others do not mind. Without them it is taken for
 * one that shares a store, which is right for engines that share nothing too.
 */
export const auto: PdProtocol = {
  ...nixl,
  name: 'auto',
  prefillLeg(request, pair) {
    if (!tellsPromptTokenIds(request)) return nixl.prefillLeg(request, pair);
    const { path, headers, members } = request;
    const set = { kv_transfer_params: `{${keepsForDecode}}`, return_token_ids: 'true' };
    return { path, headers, body: prefillBody({ path, members }, { set, endsByLength: true }) };
  },
  handoverOf: (answer, pair) => nixl.handoverOf(answer, pair) ?? store.handoverOf(answer, pair),
};
