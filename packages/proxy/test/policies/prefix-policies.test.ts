import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { textHash } from '../../src/core/block-hashes.ts';
import { kvAware } from '../../src/core/policies/kv-aware.ts';
import { loadOf } from '../../src/core/policies/policy.ts';
import { prefixCache } from '../../src/core/policies/prefix-cache.ts';
import { session } from '../../src/core/policies/session.ts';
import { anySnapshot, candidate, snapshot } from './candidates.ts';

const request = { promptTokenCount: 10_000 };

describe('prefixCache', () => {
  it('follows the longest prefix, tells what it should save, and the idlest without one', () => {
    const idle = [candidate(0), candidate(1, { lastTurn: 3 }), candidate(2)];
    const choice = prefixCache.choose(snapshot(idle, { request, hitTokenCounts: [0, 8_000, 100] }));
    expect(choice).toMatchObject({ reason: 'longest_prefix', hitTokenCount: 8_000 });
    expect(choice.instance.order).toBe(1);
    const cold = prefixCache.choose(snapshot(idle, { request }));
    expect(cold.reason).toBe('no_prefix');
    expect(cold.instance.order).toBe(0);
  });

  it('leaves an instance that everybody wants for the next', () => {
    const candidates = [candidate(0, { queuedTokenCount: 30_000 }), candidate(1), candidate(2)];
    const choice = prefixCache.choose(
      snapshot(candidates, { request, hitTokenCounts: [10_000, 0, 0] }),
    );
    expect(choice).toMatchObject({ reason: 'prefix_too_busy', hitTokenCount: 0 });
    expect(choice.instance.order).toBe(1);
  });

  it('never takes one more than a prompt busier than the least busy', () => {
    fc.assert(
      fc.property(anySnapshot, (given) => {
        const chosen = loadOf(prefixCache.choose(given).instance);
        const least = Math.min(...given.candidates.map(loadOf));
        expect(chosen - least).toBeLessThanOrEqual(given.request.promptTokenCount);
      }),
    );
  });
});

describe('session', () => {
  const addresses = Array.from({ length: 8 }, (_, at) => textHash(`10.0.0.${at}:8000`));
  const chosenFor = (sessionKey: string | null, present = addresses, busy: number | null = null) =>
    session.choose(
      snapshot(
        present.map((addressHash, order) =>
          candidate(order, { addressHash, queuedTokenCount: addressHash === busy ? 1e6 : 0 }),
        ),
        { request: { ...request, sessionKey } },
      ),
    );
  const keys = Array.from({ length: 400 }, (_, at) => `session ${at}`);

  it('keeps each at one instance, about as many at each', () => {
    const counts = new Map<number, number>();
    for (const key of keys) {
      const { instance, reason } = chosenFor(key);
      expect(reason).toBe('session');
      expect(chosenFor(key).instance.addressHash).toBe(instance.addressHash);
      counts.set(instance.order, (counts.get(instance.order) ?? 0) + 1);
    }
    expect(counts.size).toBe(8);
    for (const count of counts.values()) expect(count).toBeLessThan(100);
  });

  it('moves only the sessions of one that is gone, or has more than its share', () => {
    const [gone] = addresses as [number];
    for (const key of keys) {
      const before = chosenFor(key).instance.addressHash;
      const without = chosenFor(key, addresses.slice(1));
      const around = chosenFor(key, addresses, gone);
      expect(around.instance.addressHash).toBe(without.instance.addressHash);
      if (before === gone) expect(around.reason).toBe('session_too_busy');
      else expect(without.instance.addressHash).toBe(before);
    }
  });

  it('sends what belongs to none where there is least to do', () => {
    expect(chosenFor(null)).toMatchObject({ reason: 'no_session' });
  });
});

describe('kvAware', () => {
  it('weighs the wait against what need not be computed, at the speed of each', () => {
    const candidates = [
      candidate(0, { queuedTokenCount: 5_000 }),
      candidate(1),
      candidate(2, { queuedTokenCount: 50_000 }),
    ];
    const hits = (held: number) => snapshot(candidates, { request, hitTokenCounts: [held, 0, 0] });
    expect(kvAware.choose(hits(8_000)).instance.order).toBe(0);
    expect(kvAware.choose(hits(3_000)).instance.order).toBe(1);
    const fast = [candidate(0), candidate(1, { prefillTokensPerSecond: 4_000 })];
    const given = snapshot(fast, { request, hitTokenCounts: [7_000, 0] });
    expect(kvAware.choose(given)).toMatchObject({ reason: 'least_wait', hitTokenCount: 0 });
  });

  it('leaves an instance that everybody wants to the next, which loads from the store', () => {
    const candidates = [0, 1, 2, 3].map((order) =>
      candidate(order, { queuedTokenCount: order === 0 ? 9_000 : 0 }),
    );
    const hitTokenCounts = [10_000, 0, 0, 0];
    const cold = kvAware.choose(snapshot(candidates, { request, hitTokenCounts }));
    expect(cold).toMatchObject({ reason: 'least_wait', hitTokenCount: 0 });
    expect(cold.instance.order).toBe(1);
    const stored = { ...request, storedTokenCount: 8_192 };
    const warm = kvAware.choose(snapshot(candidates, { request: stored, hitTokenCounts }));
    expect(warm).toMatchObject({ reason: 'stored_prefix', hitTokenCount: 8_192 });
    expect(warm.instance.order).toBe(1);
  });

  it('does not wait for what the store has too, but for what it would be slow to load', () => {
    const stored = { ...request, storedTokenCount: 10_000 };
    const chosen = (transferTokensPerSecond: number) =>
      kvAware.choose(
        snapshot(
          [
            candidate(0, { queuedTokenCount: 4_000, transferTokensPerSecond }),
            candidate(1, { transferTokensPerSecond }),
            candidate(2, { queuedTokenCount: 9_000, transferTokensPerSecond }),
          ],
          { request: stored, hitTokenCounts: [10_000, 0, 0] },
        ),
      ).instance.order;
    expect(chosen(50_000)).toBe(1);
    expect(chosen(1_500)).toBe(0);
  });

  it('gives each its turn where speeds differ by little', () => {
    const candidates = [900, 1_000, 1_010].map((prefillTokensPerSecond, order) =>
      candidate(order, { prefillTokensPerSecond, lastTurn: order }),
    );
    expect(kvAware.choose(snapshot(candidates, { request })).instance.order).toBe(1);
  });

  it('decodes where the answer ends first', () => {
    const candidates = [
      candidate(0, { residentTokenCount: 90_000 }),
      candidate(1, { residentTokenCount: 20_000 }),
      candidate(2, { residentTokenCount: 20_000, decodeMsPerToken: 60 }),
    ];
    const given = snapshot(candidates, { request, work: 'decode' });
    expect(kvAware.choose(given).instance.order).toBe(1);
  });
});
