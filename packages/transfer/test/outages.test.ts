import { describe, expect, it } from 'vitest';
import { Outages } from '../src/core/outages.ts';

describe('Outages', () => {
  it('refuse what waits for a peer that takes its time to fail, and let one through to see', () => {
    const outages = new Outages();
    outages.failed('a', 0, 1_000);
    expect(outages.refusal('a', 1_100)?.message).toContain('400 ms');
    expect(outages.refusal('b', 1_100)).toBeNull();
    expect(outages.refusal('a', 1_500)).toBeNull();
    expect(outages.refusal('a', 1_501)?.code).toBe('PEER_UNREACHABLE');
    outages.failed('a', 1_500, 2_500);
    expect(outages.refusal('a', 3_499)).not.toBeNull();
    for (let atMs = 3_500; atMs < 13_500; atMs += 1_000) outages.failed('a', atMs, atMs + 1_000);
    expect(outages.refusal('a', 17_499)).not.toBeNull();
    expect(outages.refusal('a', 17_500)).toBeNull();
    outages.worked('a');
    expect(outages.refusal('a', 17_501)).toBeNull();
    outages.checkInvariants();
  });

  it('last no longer because many transfers were under way when the peer hung', () => {
    const outages = new Outages();
    for (let count = 0; count < 10; count += 1) outages.failed('a', 900, 1_900 + count);
    expect(outages.refusal('a', 2_399)).not.toBeNull();
    expect(outages.refusal('a', 2_400)).toBeNull();
    outages.checkInvariants();
  });

  it('do not mark who fails at once, and are bounded', () => {
    const outages = new Outages();
    outages.failed('a', 1_000, 1_099);
    expect(outages.refusal('a', 1_100)).toBeNull();
    for (let index = 0; index < 2_000; index += 1) outages.failed(`peer:${index}`, 0, 1_000);
    outages.checkInvariants();
    expect(outages.refusal('peer:0', 1_001)).toBeNull();
    expect(outages.refusal('peer:1999', 1_001)).not.toBeNull();
  });
});
