import { promptTokenIdsIn } from '../vllm-store/prompt-token-ids.ts';
import { prefillBody } from './prefill-body.ts';
import type { PdProtocol } from './protocol.ts';

/** Those that answer with `return_token_ids`; others have fields of the same name that mean other things. */
const tellingPaths = ['/v1/completions', '/v1/chat/completions'];

/**
 * Prefill leaves the KV where every decode instance looks for it, so neither leg says anything of it:
 * what vLLM's `disagg_proxy_demo.py` does for MooncakeStoreConnector, and what LMCache's and shared
 * storage need. Also right where no connector exists: decode computes what it does not find.
 *
 * vLLM's connector stores after it has answered. To know what decode should wait for, prefill is asked for
 * the prompt's tokens, which vLLM tells as `prompt_token_ids`.
 */
export const store: PdProtocol = {
  name: 'store',
  order: 'prefill-first',
  handover: 'shared',
  release: 'nothing',
  prefillLeg({ path, headers, members, asksPromptTokenIds }) {
    const asks = asksPromptTokenIds && tellingPaths.includes(path);
    const extras: Record<string, string> = asks ? { return_token_ids: 'true' } : {};
    return { path, headers, body: prefillBody(members, extras) };
  },
  handoverOf: (answer) => ({ cachedTokenCount: null, promptTokenIds: promptTokenIdsIn(answer) }),
  decodeLeg: ({ path, headers, body }) => ({ path, headers, body }),
};
