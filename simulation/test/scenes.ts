import { SeededRandom } from '@tsukimi/base';
import { policies } from '@tsukimi/proxy';
import { Cluster, type ClusterOptions, type Replay } from '../cluster.ts';
import { makeTrace } from '../made-trace.ts';
import { type Profile, readProfile } from '../profile.ts';
import type { Trace } from '../trace.ts';

export const publishedProfile = readProfile('llama-3.3-70b-fp8-2xh100');

/** Costs that a reader can add up: 1 ms for a prompt token, 10 ms for a decode step, nothing else. */
export const plainProfile: Profile = {
  ...publishedProfile,
  name: 'plain',
  prefill: [100, 1_000, 10_000].map((tokens) => ({ tokens, ms: tokens })),
  decode: [1, 4, 16].flatMap((batch) =>
    [100, 3_000].map((inputTokens) => ({ batch, inputTokens, outputTokens: 10, msPerToken: 10 })),
  ),
  kvBytesPerToken: 0,
  lookupMsPerBlock: 0,
  transferFixedMs: 0,
  hopMs: 0,
};

export function smallTrace(seed: number, requestCount = 300): Trace {
  return makeTrace({
    ...{ requestCount, random: new SeededRandom(seed), blockTokens: 512, meanIntervalMs: 400 },
    ...{ sharedPrefixCount: 4, turnTokensMean: 3_000, outputTokensMean: 100 },
    inputTokensMax: 65_536,
  });
}

export function replayed(trace: Trace, changes: Partial<ClusterOptions> = {}): Replay {
  const cluster = new Cluster(
    {
      ...{ profile: publishedProfile, prefillCount: 3, decodeCount: 1, store: 'shared' },
      policies: { prefill: policies.least_load, decode: policies.least_load },
      ...{ random: new SeededRandom(7), inFlightMax: 10_000, queueMax: 10_000 },
      ...changes,
    },
    trace.blockTokens,
  );
  return cluster.replay(trace);
}
