import { policies } from '@tsukimi/proxy';
import { describe, expect, it } from 'vitest';
import { summarize } from '../summary.ts';
import { seenBefore } from '../trace.ts';
import { publishedProfile, replayed, smallTrace } from './scenes.ts';

const names = Object.keys(policies) as (keyof typeof policies)[];

/** Chance has a part in it: one more instance may cost a few requests their objective. */
const tolerance = 0.03;

describe.each(names)('a cluster under %s', (name) => {
  const trace = smallTrace(6, 400);
  const inClusterOf = (prefillCount: number, decodeCount: number) =>
    summarize(
      replayed(trace, {
        ...{ prefillCount, decodeCount, store: 'private' },
        policies: { prefill: policies[name], decode: policies[name] },
      }),
      { ttftMs: 3_000, tpotMs: 100 },
    );

  it('serves the same arrivals no worse with more instances', () => {
    const parts = [1, 2, 4, 8, 16].map((count) => inClusterOf(count, count).goodPart);
    expect(parts[0]).toBeLessThan(0.9);
    expect(parts.at(-1)).toBeGreaterThan(0.9);
    for (const [at, part] of parts.entries()) {
      expect(part, parts.join(' ')).toBeGreaterThanOrEqual((parts[at - 1] ?? 0) - tolerance);
    }
  });

  it('hits no more than any cache could, and foresees no more than there was', () => {
    for (const count of [1, 4, 16]) {
      const { hitRate, predictedHitRate } = inClusterOf(count, count);
      const bound = seenBefore(trace).tokens;
      expect(hitRate).toBeLessThanOrEqual(bound);
      expect(predictedHitRate).toBeLessThanOrEqual(bound);
    }
  });
});

describe('a shared store', () => {
  it('hits nearly as often as it could, wherever requests go', () => {
    const trace = smallTrace(6, 400);
    for (const name of names) {
      const { hitRate } = summarize(
        replayed(trace, { policies: { prefill: policies[name], decode: policies[name] } }),
        publishedProfile.objective,
      );
      expect(hitRate / seenBefore(trace).tokens, name).toBeGreaterThan(0.85);
    }
  });
});
