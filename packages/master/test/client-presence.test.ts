import type { Uuid } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import { ClientPresence } from '../src/client-presence.ts';
import { uuid } from '../src/testing.ts';

function presence() {
  const told: string[] = [];
  const followed = new ClientPresence({
    onConnected: (client: Uuid) => told.push(`+${client}`),
    onDisconnected: (client: Uuid) => told.push(`-${client}`),
  });
  return { followed, told };
}

const peer = (connectionId: number) => ({ connectionId, address: '127.0.0.1' });

describe('ClientPresence', () => {
  it('tells of the first connection of a client and of the end of its last', () => {
    const { followed, told } = presence();
    const [first, second, unnamed] = [peer(1), peer(2), peer(3)];
    for (const connection of [first, second, first]) followed.shown(connection, uuid(1));
    followed.closed(first);
    followed.closed(unnamed);
    expect(told).toEqual(['+1-1']);
    followed.closed(second);
    followed.closed(second);
    expect(told).toEqual(['+1-1', '-1-1']);
    followed.shown(unnamed, uuid(1));
    expect(told).toEqual(['+1-1', '-1-1', '+1-1']);
  });

  it('follows several clients behind one connection, and not endlessly many', () => {
    const { followed, told } = presence();
    const shared = peer(1);
    for (let number = 1; number <= 100; number++) followed.shown(shared, uuid(number));
    expect(told.length).toBe(64);
    followed.closed(shared);
    expect(told.slice(64)).toEqual(told.slice(0, 64).map((line) => line.replace('+', '-')));
  });
});
