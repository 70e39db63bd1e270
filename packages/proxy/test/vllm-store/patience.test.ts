import { expect, it } from 'vitest';
import { Patience } from '../../src/vllm-store/patience.ts';

it('waits for the whole bound, and for half of it where something is there already', () => {
  const patience = new Patience(2_000);
  expect(patience.limitMs('nothing')).toBe(2_000);
  expect(patience.limitMs('some')).toBe(1_000);
});

it('waits shortly after three waits in vain, and long again now and then', () => {
  const patience = new Patience(2_000);
  const limits = Array.from({ length: 20 }, () => {
    const limitMs = patience.limitMs('nothing');
    patience.missed('nothing');
    return limitMs;
  });
  const expected = limits.map((_, at) => (at < 3 || at === 16 ? 2_000 : 100));
  expect(limits).toEqual(expected);
  expect(patience.limitMs('some')).toBe(1_000);
});

it('is itself again once something came in time', () => {
  const patience = new Patience(2_000);
  for (let count = 0; count < 5; count += 1) patience.missed('nothing');
  expect(patience.limitMs('nothing')).toBe(100);
  patience.found('nothing');
  expect(patience.limitMs('nothing')).toBe(2_000);
});

it('never waits for longer than its bound', () => {
  const patience = new Patience(50);
  for (let count = 0; count < 5; count += 1) patience.missed('nothing');
  expect(patience.limitMs('nothing')).toBe(50);
});
