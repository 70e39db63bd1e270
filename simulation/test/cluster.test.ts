import { SeededRandom } from '@tsukimi/base';
import { policies } from '@tsukimi/proxy';
import { describe, expect, it } from 'vitest';
import type { StoreKind } from '../cluster.ts';
import { summarize, tpotOf } from '../summary.ts';
import { seenBefore, type Trace } from '../trace.ts';
import { plainProfile, publishedProfile, replayed, smallTrace } from './scenes.ts';

const stores: readonly StoreKind[] = ['shared', 'private', 'none'];

function traceOf(...requests: Trace['requests']): Trace {
  return { name: 'by hand', blockTokens: 512, requests };
}

describe('Cluster', () => {
  it('adds up one request: its prompt, its last token again, its tokens', () => {
    const trace = traceOf({ atMs: 0, inputTokens: 1_000, outputTokens: 11, blocks: [1, 2] });
    const [outcome] = replayed(trace, { profile: plainProfile }).outcomes;
    expect(outcome?.firstTokenMs).toBeCloseTo(1_001, 6);
    expect(outcome?.lastTokenMs).toBeCloseTo(1_101, 6);
    expect(outcome?.computedTokens).toBe(1_000);
  });

  it('computes of a second prompt only what the first did not have', () => {
    const trace = traceOf(
      { atMs: 0, inputTokens: 1_024, outputTokens: 1, blocks: [1, 2] },
      { atMs: 5_000, inputTokens: 1_536, outputTokens: 1, blocks: [1, 2, 3] },
    );
    for (const store of stores) {
      const options = { profile: plainProfile, store, prefillCount: 1 };
      const { outcomes } = replayed(trace, options);
      expect(outcomes[1]?.computedTokens, store).toBe(512);
      expect(outcomes[1]?.firstTokenMs, store).toBeCloseTo(513, 6);
    }
    // Round robin sends the second one to another instance: only a shared store helps there.
    const inTurns = { prefill: policies.round_robin, decode: policies.round_robin };
    const computed = { shared: 512, private: 1_536, none: 1_536 };
    for (const store of stores) {
      const options = { profile: plainProfile, store, prefillCount: 2, policies: inTurns };
      expect(replayed(trace, options).outcomes[1]?.computedTokens, store).toBe(computed[store]);
    }
  });

  it('waits for the transfer of what it loads', () => {
    const trace = traceOf({ atMs: 0, inputTokens: 1_024, outputTokens: 1, blocks: [1, 2] });
    const profile = { ...plainProfile, kvBytesPerToken: 1_000, transferBytesPerSecond: 1_024_000 };
    const [shared] = replayed(trace, { profile }).outcomes;
    // To the store and from it, a second each.
    expect(shared?.firstTokenMs).toBeCloseTo(1_024 + 1_000 + 1_000 + 1, 6);
  });

  it.each(Object.keys(policies) as (keyof typeof policies)[])(
    'ends every request once under %s, in every kind of store, the same for a seed',
    (name) => {
      const trace = smallTrace(1);
      const bound = seenBefore(trace).tokens;
      for (const store of stores) {
        const options = { store, policies: { prefill: policies[name], decode: policies[name] } };
        const replay = replayed(trace, { ...options, random: new SeededRandom(1) });
        expect(replayed(trace, { ...options, random: new SeededRandom(1) })).toEqual(replay);
        expect(new Set(replay.outcomes.map(({ request }) => request)).size).toBe(300);
        for (const outcome of replay.outcomes) {
          expect(outcome.end).toBe('answered');
          expect(outcome.firstTokenMs).toBeGreaterThan(0);
          expect(outcome.lastTokenMs).toBeGreaterThanOrEqual(outcome.firstTokenMs);
          expect(outcome.computedTokens).toBeGreaterThan(0);
          expect(outcome.computedTokens).toBeLessThanOrEqual(outcome.request.inputTokens);
        }
        const { hitRate } = summarize(replay, publishedProfile.objective);
        expect(hitRate).toBeLessThanOrEqual(bound);
      }
    },
  );

  it('refuses what the proxy has no room for, and answers the rest', () => {
    const replay = replayed(smallTrace(2), { inFlightMax: 4, queueMax: 2 });
    const { answeredCount, refusedCount } = summarize(replay, publishedProfile.objective);
    expect(refusedCount).toBeGreaterThan(10);
    expect(answeredCount + refusedCount).toBe(300);
  });

  it('works as long as its prompts and tokens take', () => {
    const { outcomes, instances } = replayed(smallTrace(3), {
      ...{ profile: plainProfile, store: 'none', decodeCount: 2 },
    });
    const busyMs = (kind: string) =>
      instances.filter((one) => one.kind === kind).reduce((sum, one) => sum + one.busyMs, 0);
    const computed = outcomes.reduce((sum, { computedTokens }) => sum + computedTokens, 0);
    expect(busyMs('prefill')).toBeCloseTo(computed, 3);
    // Alone, each token after the first of a request would take a step; together they share steps.
    const alone = outcomes.reduce(
      (sum, { request }) => sum + (request.outputTokens - 1) * 10 + 1,
      0,
    );
    expect(busyMs('decode')).toBeLessThan(alone);
    expect(busyMs('decode')).toBeGreaterThan(alone / 50);
    for (const outcome of outcomes) {
      if (outcome.request.outputTokens > 1) expect(tpotOf(outcome)).toBeGreaterThan(9.999);
    }
  });

  it('waits as the theory of a queue with one server says (M/M/1)', () => {
    const random = new SeededRandom(17);
    const exponential = (mean: number) => -Math.log((random.uint32() + 0.5) / 2 ** 32) * mean;
    const load = 0.5;
    let atMs = 0;
    const requests = Array.from({ length: 40_000 }, (_, at) => {
      atMs += exponential(1_000 / load);
      const inputTokens = Math.max(1, Math.round(exponential(1_000)));
      const blockCount = Math.ceil(inputTokens / 512);
      const blocks = Array.from({ length: blockCount }, (__, block) => at * 100 + block);
      return { atMs, inputTokens, outputTokens: 1, blocks };
    });
    const { outcomes } = replayed(traceOf(...requests), {
      ...{ profile: { ...plainProfile, stepTokens: 40 }, prefillCount: 1, store: 'none' },
    });
    const mean =
      outcomes.reduce((sum, { firstTokenMs }) => sum + firstTokenMs, 0) / outcomes.length;
    // The same arrivals through Lindley's recursion, so that chance has no part in it.
    let freeAtMs = 0;
    let sumMs = 0;
    for (const request of requests) {
      freeAtMs = Math.max(freeAtMs, request.atMs) + request.inputTokens;
      sumMs += freeAtMs - request.atMs + 1;
    }
    expect(mean / (sumMs / requests.length)).toBeGreaterThan(0.99);
    expect(mean / (sumMs / requests.length)).toBeLessThan(1.02);
    // 1 / (service rate − arrival rate), and the millisecond that decode takes.
    const theory = 1_000 / (1 - load) + 1;
    expect(mean / theory).toBeGreaterThan(0.95);
    expect(mean / theory).toBeLessThan(1.05);
  });
});
