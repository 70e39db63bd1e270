import type { Handlers } from '@tsukimi/rpc';
import { ErrorCode, type Expected, type MasterProtocol, ProbePolicy } from '@tsukimi/wire';
import type { MasterCore } from './core/master-core.ts';

const yes: Expected<boolean> = Object.freeze({ ok: true });
const no: Expected<boolean> = Object.freeze({ ok: false });

/** Look-ups that grant no lease, of 0.3.14: an object that was seen may be gone the next moment. */
export function probeHandlers({ core }: { readonly core: MasterCore }) {
  const isThere = (key: string, tenant: string) => 'ok' in core.peek(key, tenant);
  return {
    ProbeKey: ([key, tenant]) => (isThere(key, tenant) ? yes : no),
    BatchProbeKey: ([{ policy, candidateSize }, keys, tenant]) => {
      const invalid = { error: ErrorCode.INVALID_PARAMS };
      const isKnown = policy === ProbePolicy.NONE || policy === ProbePolicy.LAST_HIT_ONLY;
      if (!isKnown || candidateSize < 1) return keys.map(() => invalid);
      const there = keys.map((key) => isThere(key, tenant));
      if (policy === ProbePolicy.LAST_HIT_ONLY) {
        const from = lastHit(there, candidateSize);
        for (const key of keys.slice(from, from + candidateSize)) core.exist(key, tenant);
      }
      return there.map((is) => (is ? yes : no));
    },
    GetReplicaListForAdmin: ([key, tenant]) => core.peek(key, tenant),
    BatchGetReplicaListForAdmin: ([keys, tenant]) => keys.map((key) => core.peek(key, tenant)),
    RegisterPrefetchTask: ([, key, tenant]) => core.localDisks.prefetch(key, tenant),
  } satisfies Partial<Handlers<MasterProtocol>>;
}

/** Where the last candidate begins of which all keys are there; past the end for none. */
function lastHit(there: readonly boolean[], candidateSize: number): number {
  const lastFrom = Math.floor(there.length / candidateSize) * candidateSize - candidateSize;
  for (let from = lastFrom; from >= 0; from -= candidateSize) {
    if (there.slice(from, from + candidateSize).every((is) => is)) return from;
  }
  return there.length;
}
