import { describe, expect, it } from 'vitest';
import { EndpointHealth } from '../src/core/endpoint-health.ts';

describe('EndpointHealth', () => {
  it('gives what failed to the one who tells the master, once and a few at a time', () => {
    const health = new EndpointHealth();
    expect(health.takeFailed()).toEqual([]);
    for (let number = 0; number < 10; number++) health.failed(`host:${number}`, 0);
    health.failed('host:0', 1);
    health.failed('x'.repeat(65), 1);
    health.worked('host:9');
    expect(health.takeFailed()).toHaveLength(8);
    expect(health.takeFailed()).toEqual(['host:8']);
    expect(health.takeFailed()).toEqual([]);
    expect(health.isSuspect('host:8', 9_000)).toBe(true);
  });
});
