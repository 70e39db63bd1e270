import { leastLoad } from './least-load.ts';
import type { Policy } from './policy.ts';
import { powerOfTwo } from './power-of-two.ts';
import { random } from './random.ts';
import { roundRobin } from './round-robin.ts';

/** As `--scheduling` names them. */
export const policies = {
  round_robin: roundRobin,
  random,
  least_load: leastLoad,
  power_of_two: powerOfTwo,
} as const satisfies Readonly<Record<string, Policy>>;

export type PolicyName = keyof typeof policies;

/** What wins in `simulation/` on the published traces; `docs/simulation.md` has the figures. */
export const defaultPolicyName: PolicyName = 'least_load';
