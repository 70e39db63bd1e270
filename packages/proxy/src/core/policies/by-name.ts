import { kvAware } from './kv-aware.ts';
import { leastLoad } from './least-load.ts';
import type { Policy } from './policy.ts';
import { powerOfTwo } from './power-of-two.ts';
import { prefixCache } from './prefix-cache.ts';
import { random } from './random.ts';
import { roundRobin } from './round-robin.ts';
import { session } from './session.ts';

/** As `--scheduling` names them. */
export const policies = {
  round_robin: roundRobin,
  random,
  least_load: leastLoad,
  power_of_two: powerOfTwo,
  prefix_cache: prefixCache,
  session,
  kv_aware: kvAware,
} as const satisfies Readonly<Record<string, Policy>>;

export type PolicyName = keyof typeof policies;

/** What wins in `simulation/` on the published traces; `docs/policies.md` has the figures. */
export const defaultPolicyName: PolicyName = 'prefix_cache';
