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
  return warnings;
}
