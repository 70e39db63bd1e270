import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type ClientKey, ClientKeys, clientKeysIn, plainKey } from '../src/core/client-keys.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

describe('the keys file', () => {
  it('gives clients their names and limits, by the hash of their keys', () => {
    const keys = new ClientKeys(
      clientKeysIn(
        `keys: [{ name: team, sha256: ${sha256('sk-1')}, requests_per_minute: 60 }]`,
        'keys.yaml',
      ),
      true,
    );
    expect(keys.find('sk-1')).toMatchObject({ name: 'team', requestsPerMinute: 60 });
    expect(keys.find('sk-2')).toBeNull();
    expect(keys.find('')).toBeNull();
  });

  it.each([
    [{ keys: [{ name: 'a', sha256: 'abc' }] }, /keys\.0\.sha256: .*64 hexadecimal/],
    [{ keys: [{ name: 'a', sha256: sha256('x'), rpm: 5 }] }, /keys\.0: .*rpm/],
    [
      {
        keys: [
          { name: 'a', sha256: sha256('x') },
          { name: 'a', sha256: sha256('y') },
        ],
      },
      /"a" is there twice/,
    ],
    [null, /^keys\.yaml: /],
  ])('is refused with the field at fault: %j', (document, message) => {
    expect(() => clientKeysIn(JSON.stringify(document), 'keys.yaml')).toThrow(message);
  });
});

describe('limits of a key', () => {
  const keyOf = (limits: Partial<ClientKey>): ClientKey => ({ ...plainKey('k', 'k'), ...limits });

  it('let a minute’s worth come at once, then as time passes', () => {
    const key = keyOf({ requestsPerMinute: 2 });
    const keys = new ClientKeys([key], true);
    expect(keys.enter(key, 0)).toEqual({ allowed: true, remaining: 1 });
    expect(keys.enter(key, 0)).toEqual({ allowed: true, remaining: 0 });
    expect(keys.enter(key, 0)).toEqual({ allowed: false, why: 'rate', retryAfterMs: 30_000 });
    expect(keys.enter(key, 29_000)).toMatchObject({ allowed: false, retryAfterMs: 1_000 });
    expect(keys.enter(key, 30_000)).toEqual({ allowed: true, remaining: 0 });
    // However long it was away, no more than a minute's worth.
    keys.leave(key);
    const allowed = [0, 0, 0].map(() => keys.enter(key, 10_000_000).allowed);
    expect(allowed).toEqual([true, true, false]);
  });

  it('bound what runs at once, and survive another reading of the file', () => {
    const key = keyOf({ concurrencyMax: 2 });
    const keys = new ClientKeys([key], true);
    keys.enter(key, 0);
    keys.enter(key, 0);
    expect(keys.enter(key, 0)).toMatchObject({ allowed: false, why: 'concurrency' });
    const wider = { ...key, concurrencyMax: 3 };
    keys.replace([wider]);
    expect(keys.enter(wider, 0).allowed).toBe(true);
    expect(keys.enter(wider, 0).allowed).toBe(false);
    for (let at = 0; at < 3; at += 1) keys.leave(wider);
    const again = [0, 1, 2, 3].map(() => keys.enter(wider, 0).allowed);
    expect(again).toEqual([true, true, true, false]);
    keys.replace([]);
    expect(keys.find('k')).toBeNull();
  });
});
