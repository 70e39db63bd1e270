import { describe, expect, it } from 'vitest';
import { CostModel, decodeSteps } from '../cost-model.ts';
import { leastSquares } from '../least-squares.ts';
import { readProfile } from '../profile.ts';

describe('leastSquares', () => {
  it('finds the coefficients that made the values, at very different scales', () => {
    const rows = [1, 10, 200, 3_000, 40_000].map((n) => [1, n, n ** 2]);
    const values = rows.map(([one = 0, n = 0, square = 0]) => 5 * one + 0.3 * n + 2e-6 * square);
    const [fixed, linear, quadratic] = leastSquares(rows, values);
    expect(fixed).toBeCloseTo(5, 6);
    expect(linear).toBeCloseTo(0.3, 8);
    expect(quadratic).toBeCloseTo(2e-6, 12);
  });

  it('gives no coefficient below 0', () => {
    const rows = [1, 2, 3, 4].map((n) => [1, n]);
    expect(leastSquares(rows, [4, 3, 2, 1])[1]).toBe(0);
  });

  it('refuses fewer points than coefficients, and what is no time', () => {
    expect(() => leastSquares([[1, 2, 3]], [1])).toThrow(RangeError);
    expect(() => leastSquares([[1], [1]], [1, Number.NaN])).toThrow(RangeError);
    expect(() => leastSquares([[1], [1]], [1, 0])).toThrow(RangeError);
  });
});

describe.each([
  ['llama-3.3-70b-fp8-2xh100', 0.25],
  // Measured on a machine that did other things too.
  ['tsukimi-demo-one-thread', 0.35],
] as const)('CostModel of %s', (name, tokenTolerance) => {
  const profile = readProfile(name);
  const cost = new CostModel(profile);

  it('gives the measured times of prompts within a tenth', () => {
    for (const { tokens, ms } of profile.prefill) {
      const ratio = cost.prefillMs({ from: 0, to: tokens }) / ms;
      expect(ratio, `${tokens} tokens`).toBeGreaterThan(0.9);
      expect(ratio, `${tokens} tokens`).toBeLessThan(1.1);
    }
  });

  it('gives the measured times between tokens within a quarter or so', () => {
    const steps = decodeSteps(profile, (to) => cost.spanMs({ from: 0, to }));
    for (const { batch, residentTokens, ms } of steps) {
      const ratio = cost.decodeStepMs(batch, residentTokens) / ms;
      expect(ratio, `${batch} sequences, ${residentTokens} tokens`).toBeGreaterThan(
        1 - tokenTolerance,
      );
      expect(ratio, `${batch} sequences, ${residentTokens} tokens`).toBeLessThan(
        1 + tokenTolerance,
      );
    }
  });

  it('costs a prompt in pieces what it costs at once, but for the fixed part', () => {
    const pieces = cost.spanMs({ from: 0, to: 700 }) + cost.spanMs({ from: 700, to: 4_000 });
    expect(pieces).toBeCloseTo(cost.spanMs({ from: 0, to: 4_000 }), 6);
  });
});
