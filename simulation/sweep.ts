import { SeededRandom } from '@tsukimi/base';
import { policies } from '@tsukimi/proxy';
import { Cluster, type StoreKind } from './cluster.ts';
import { CostModel } from './cost-model.ts';
import type { PolicyPair, SimulationOptions } from './options.ts';
import type { Profile } from './profile.ts';
import { type Objective, type Summary, summarize } from './summary.ts';
import { seenBefore, stretched, type Trace } from './trace.ts';

/** What is different between the runs of a sweep. */
interface Variant {
  readonly store: StoreKind;
  readonly load: number;
  readonly prefillShare: number;
  readonly instances: number;
  readonly policy: string;
}

export interface SweepRow extends Variant, Summary {
  readonly prefillCount: number;
  readonly decodeCount: number;
  readonly requestsPerSecond: number;
  /** The part of all prompt tokens that some request before had: the hit rate is never above. */
  readonly hitBound: number;
}

/** Every combination of what the options list, each on the same requests. */
export function* sweep(
  trace: Trace,
  profile: Profile,
  objective: Objective,
  options: SimulationOptions,
): Generator<SweepRow> {
  const work = promptWorkMs(trace, profile);
  const hitBound = seenBefore(trace).tokens;
  for (const store of options.stores) {
    for (const load of options.loads) {
      for (const prefillShare of options.prefillShares) {
        for (const instances of options.instances) {
          const prefillCount = Math.min(
            instances - 1,
            Math.max(1, Math.round(instances * prefillShare)),
          );
          const spanMs = work / prefillCount / load;
          // The same arrivals for every policy.
          const arrivals = stretched(trace, spanMs, new SeededRandom(options.seed));
          for (const pair of options.policies) {
            const decodeCount = instances - prefillCount;
            const { inFlightMax, queueMax, seed } = options;
            const cluster = new Cluster(
              {
                ...{ profile, prefillCount, decodeCount, store, inFlightMax, queueMax },
                policies: { prefill: policies[pair.prefill], decode: policies[pair.decode] },
                random: new SeededRandom(seed + 1),
              },
              trace.blockTokens,
            );
            yield {
              ...{ store, load, prefillShare, instances, policy: nameOf(pair) },
              ...{ prefillCount, decodeCount, hitBound },
              requestsPerSecond: (trace.requests.length / spanMs) * 1_000,
              ...summarize(cluster.replay(arrivals), objective),
            };
          }
        }
      }
    }
  }
}

/** The time that one instance would need for all prompts, one after the other, with nothing cached. */
function promptWorkMs({ requests }: Trace, profile: Profile): number {
  const cost = new CostModel(profile);
  return requests.reduce(
    (sum, { inputTokens }) => sum + cost.prefillMs({ from: 0, to: inputTokens }),
    0,
  );
}

function nameOf({ prefill, decode }: PolicyPair): string {
  return prefill === decode ? prefill : `${prefill}+${decode}`;
}
