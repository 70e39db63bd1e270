import { describe, expect, it } from 'vitest';
import { EndpointHealth } from '../src/core/endpoint-health.ts';
import { afterFailures, awayFromSuspects } from '../src/core/placement.ts';
import { defaultReplicateConfig, replicateConfigOf } from '../src/replicate-config.ts';

const plain = defaultReplicateConfig('', '');

describe('EndpointHealth', () => {
  it('suspects for ten seconds, or until a transfer works', () => {
    const health = new EndpointHealth();
    health.failed('a', 0);
    health.failed('b', 0);
    health.worked('b');
    expect(health.isSuspect('a', 9_999)).toBe(true);
    expect(health.isSuspect('a', 10_000)).toBe(false);
    expect(health.isSuspect('b', 1)).toBe(false);
    expect([health.hasSuspects(1), health.hasSuspects(10_000)]).toEqual([true, false]);
  });

  it('names those that work, and forgets the oldest', () => {
    const health = new EndpointHealth();
    health.worked('a');
    health.failed('b', 0);
    health.worked('c');
    health.worked('a');
    expect(health.working()).toEqual(['c', 'a']);
    for (let index = 0; index < 1_024; index++) health.worked(String(index));
    expect(health.working()).toHaveLength(1_024);
    expect(health.isSuspect('b', 1)).toBe(false);
  });
});

describe('placement', () => {
  it('leaves wishes alone while nobody is suspected', () => {
    const health = new EndpointHealth();
    health.worked('a');
    expect(awayFromSuspects(plain, health, 0)).toBe(plain);
  });

  it('prefers what the caller prefers, then what works, never what is suspected', () => {
    const health = new EndpointHealth();
    health.worked('a');
    health.worked('b');
    health.failed('dead', 0);
    const config = { ...plain, preferredSegments: ['mine', 'dead'] };
    expect(awayFromSuspects(config, health, 1)).toMatchObject({
      preferredSegment: '',
      preferredSegments: ['mine', 'b', 'a'],
    });
    const own = defaultReplicateConfig('own', '');
    expect(awayFromSuspects(own, health, 1).preferredSegments).toEqual(['own', 'b', 'a']);
  });

  it('asks for one replica more to find somebody who works, then for no more than work', () => {
    const health = new EndpointHealth();
    health.failed('dead', 0);
    expect(afterFailures({ ...plain, replicaNum: 2 }, health, 1).replicaNum).toBe(3);
    health.worked('a');
    expect(afterFailures({ ...plain, replicaNum: 2 }, health, 1)).toMatchObject({
      replicaNum: 1,
      preferredSegments: ['a'],
    });
  });
});

describe('replicateConfigOf', () => {
  it('lets a list of segments stand in place of the default segment', () => {
    const defaults = defaultReplicateConfig('own', 'host');
    expect(replicateConfigOf({}, defaults)).toEqual(defaults);
    expect(replicateConfigOf({ preferredSegments: ['a'] }, defaults)).toMatchObject({
      preferredSegment: '',
      preferredSegments: ['a'],
      hostId: 'host',
    });
    const both = { preferredSegment: 'b', preferredSegments: ['a'] };
    expect(replicateConfigOf(both, defaults).preferredSegment).toBe('b');
  });
});
