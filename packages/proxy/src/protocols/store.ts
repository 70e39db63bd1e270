import { promptTokenIdsIn } from '../vllm-store/prompt-token-ids.ts';
import { cachedTokenCountIn } from './answers.ts';
import { decodeBody } from './decode-body.ts';
import { prefillBody } from './prefill-body.ts';
import type { LegSource, PdProtocol } from './protocol.ts';

/** Those that answer with `return_token_ids`; others have fields of the same name that mean other things. */
const tellingPaths = ['/v1/completions', '/v1/chat/completions'];

/**
 * Prefill leaves the KV where every decode instance looks for it, so neither leg says anything of it:
 * what vLLM's `disagg_proxy_demo.py` does, and what MooncakeStoreConnector and shared storage need.
 * Also right where no connector exists: decode computes what it does not find.
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
    const set: Record<string, string> = tellsPromptTokenIds({ path, asksPromptTokenIds })
      ? { return_token_ids: 'true' }
      : {};
    return { path, headers, body: prefillBody({ path, members }, { set }) };
  },
  handoverOf: (answer) => ({
    cachedTokenCount: cachedTokenCountIn(answer),
    kvTransferParams: null,
    held: false,
    promptTokenIds: promptTokenIdsIn(answer),
  }),
  decodeLeg: (request) => ({
    path: request.path,
    headers: request.headers,
    body: decodeBody(request),
  }),
};

/** Whether the answer to the prefill leg can and should hold the tokens of the prompt. */
export function tellsPromptTokenIds({
  path,
  asksPromptTokenIds,
}: Pick<LegSource, 'path' | 'asksPromptTokenIds'>): boolean {
  return asksPromptTokenIds && tellingPaths.includes(path);
}
