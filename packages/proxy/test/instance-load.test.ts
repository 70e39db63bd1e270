import { expect, it } from 'vitest';
import { InstanceLoad, PoolSpeeds } from '../src/core/instance-load.ts';

it('takes an instance for as fast as the others until its own work shows otherwise', () => {
  const speeds = new PoolSpeeds();
  const [asked, unasked] = [0, 1].map((order) => new InstanceLoad(order, 0, speeds)) as [
    InstanceLoad,
    InstanceLoad,
  ];
  const compute = (load: InstanceLoad, tokenCount: number, fromMs: number, tookMs: number) => {
    load.began(tokenCount, 0, fromMs);
    load.promptDone(tokenCount, tokenCount, fromMs + tookMs);
    load.ended(0);
  };
  for (let at = 0; at < 10; at += 1) compute(asked, 10_000, at * 1_000, 1_000);
  expect(asked.prefillTokensPerSecond).toBeGreaterThan(9_500);
  expect(unasked.prefillTokensPerSecond).toBeGreaterThan(9_500);
  // A few hard prompts do not make it a slow one; a steady half of the speed does.
  compute(unasked, 1_000, 10_000, 400);
  expect(unasked.prefillTokensPerSecond).toBeGreaterThan(8_000);
  for (let at = 11; at < 31; at += 1) compute(unasked, 10_000, at * 1_000, 2_000);
  expect(unasked.prefillTokensPerSecond).toBeLessThan(6_500);
  unasked.checkInvariants();
});
