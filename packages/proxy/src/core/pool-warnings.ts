import { speakTheSame } from './pd-facts.ts';
import type { PoolInstance } from './pool-instance.ts';

/** What an operator should know: instances that can never share KVCache, or serve something else. */
export function poolWarnings(instances: readonly PoolInstance[]): string[] {
  const warnings = instances.flatMap(({ kind, address, state }) =>
    state.name === 'mismatch' ? [`${kind} ${address} ${state.reason}; it gets no requests`] : [],
  );
  const known = instances.filter(({ identity }) => identity?.ours === true);
  for (const [what, of] of [
    ['tensor_parallel_size', (one: PoolInstance) => one.identity?.tensorParallelSize],
    ['fingerprint', (one: PoolInstance) => one.identity?.fingerprint],
  ] as const) {
    const groups = new Map<string, string[]>();
    for (const one of known) {
      const value = of(one);
      if (value === null || value === undefined) continue;
      const group = groups.get(String(value)) ?? [];
      groups.set(String(value), [...group, one.address]);
    }
    if (groups.size < 2) continue;
    const shown = [...groups].map(([value, addresses]) => `${value} (${addresses.join(', ')})`);
    warnings.push(`${what} differs, so these never share KVCache: ${shown.join('; ')}`);
  }
  return [...warnings, ...handoverWarnings(instances)];
}

/** Prefill instances whose work is in vain, since every decode instance computes it again. */
function handoverWarnings(instances: readonly PoolInstance[]): string[] {
  const decode = instances.filter(({ kind, identity }) => kind === 'decode' && identity !== null);
  return instances.flatMap((one) => {
    const pd = one.identity?.pd ?? null;
    if (one.kind !== 'prefill' || pd === null || pd.protocol === 'tsukimi') return [];
    const vain = `prefill ${one.address} hands nothing over:`;
    if (pd.protocol === 'mooncake' && pd.bootstrap === null) {
      return [`${vain} no bootstrap server answers there; give its port (--bootstrap-port)`];
    }
    if (pd.protocol === 'nixl_push' && pd.side === null) {
      return [`${vain} add it with its engine_id and kv_port, which nixl_push needs`];
    }
    if (decode.length === 0 || decode.some((other) => speakTheSame(one, other))) return [];
    return [`${vain} it speaks ${pd.protocol}, as no decode instance does`];
  });
}
