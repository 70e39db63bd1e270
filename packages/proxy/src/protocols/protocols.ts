import type { Pair, PdProtocol } from './protocol.ts';
import { store } from './store.ts';
import { tsukimi } from './tsukimi.ts';

/** What both instances of a pair understand. */
export function protocolOf({ prefill, decode }: Pair): PdProtocol {
  return prefill?.identity?.ours === true || decode?.identity?.ours === true ? tsukimi : store;
}
