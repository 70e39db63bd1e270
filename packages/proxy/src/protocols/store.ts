import { prefillBody } from './prefill-body.ts';
import type { PdProtocol } from './protocol.ts';

const nothingTold = { cachedTokenCount: null };

/**
 * Prefill leaves the KV where every decode instance looks for it, so neither leg says anything of it:
 * what vLLM's `disagg_proxy_demo.py` does for MooncakeStoreConnector, and what LMCache's and shared
 * storage need. Also right where no connector exists: decode computes what it does not find.
 */
export const store: PdProtocol = {
  name: 'store',
  order: 'prefill-first',
  handover: 'shared',
  release: 'nothing',
  prefillLeg: ({ path, headers, members }) => ({ path, headers, body: prefillBody(members) }),
  handoverOf: () => nothingTold,
  decodeLeg: ({ path, headers, body }) => ({ path, headers, body }),
};
