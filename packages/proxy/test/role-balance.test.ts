import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Identity } from '../src/core/identity.ts';
import type { PoolInstance } from '../src/core/pool-instance.ts';
import { RoleBalance } from '../src/core/role-balance.ts';
import { startCluster } from './cluster.ts';
import { candidate } from './policies/candidates.ts';

type Side = 'prefill' | 'decode';

function instance(
  order: number,
  kind: Side,
  full: boolean,
  kvRole: Identity['kvRole'] = 'kv_both',
) {
  const load =
    kind === 'prefill'
      ? { queuedTokenCount: full ? 9_000 : 0 }
      : { decodeMsPerToken: full ? 300 : 10, activeRequestCount: 1 };
  return { ...candidate(order, load), kind, identity: { kvRole } } as unknown as PoolInstance;
}

const side = (kind: Side, count: number, full: boolean, from = 0) =>
  Array.from({ length: count }, (_, at) => instance(from + at, kind, full));

describe('RoleBalance', () => {
  it('moves one to the full side, not at once, and then rests', () => {
    for (const [to, from] of [['prefill', 'decode'] as const, ['decode', 'prefill'] as const]) {
      const balance = new RoleBalance();
      const all = [...side(to, 1, true), ...side(from, 2, false, 10)];
      const moves = Array.from({ length: 12 }, () => balance.look(all));
      expect(moves.map((move) => move?.to ?? null)).toEqual([
        ...[null, null, to, null, null, null, null, null, null, null, null, to],
      ]);
      expect(moves[2]?.instance.kind).toBe(from);
    }
  });

  it('moves nobody for a burst, or when both sides are full, or none', () => {
    const busy = [...side('prefill', 2, true), ...side('decode', 2, false, 10)];
    const calm = [...side('prefill', 2, false), ...side('decode', 2, false, 10)];
    const full = [...side('prefill', 2, true), ...side('decode', 2, true, 10)];
    const balance = new RoleBalance();
    for (let turn = 0; turn < 20; turn += 1) {
      expect(balance.look(turn % 3 === 2 ? calm : busy)).toBeNull();
      expect(new RoleBalance().look(full)).toBeNull();
    }
  });

  it('never takes the last of a side, nor one that cannot do both', () => {
    const kinds = fc.constantFrom<Side>('prefill', 'decode');
    const roles = fc.constantFrom<Identity['kvRole']>(
      'kv_both',
      'kv_producer',
      'kv_consumer',
      null,
    );
    const one = fc.tuple(kinds, fc.boolean(), roles);
    fc.assert(
      fc.property(
        fc.array(one, { maxLength: 8 }),
        fc.integer({ min: 1, max: 40 }),
        (told, looks) => {
          const balance = new RoleBalance();
          let all = told.map(([kind, full, role], at) => instance(at, kind, full, role));
          const hadBoth = (['prefill', 'decode'] as const).every((kind) =>
            all.some((each) => each.kind === kind),
          );
          let last = -10;
          for (let turn = 0; turn < looks; turn += 1) {
            const move = balance.look(all);
            if (move === null) continue;
            expect(turn - last).toBeGreaterThan(6);
            last = turn;
            expect(move.instance.identity?.kvRole).toBe('kv_both');
            all = all.map((each) =>
              each === move.instance ? ({ ...each, kind: move.to } as PoolInstance) : each,
            );
          }
          if (!hadBoth) return;
          for (const kind of ['prefill', 'decode'])
            expect(all.some((each) => each.kind === kind)).toBe(true);
        },
      ),
    );
  });
});

describe('--auto-role', () => {
  it('is not for several workers, each of which would decide by itself', async () => {
    await expect(startCluster({ argv: ['--auto-role', '--workers', '2'] })).rejects.toThrow(
      /--auto-role.*--workers/,
    );
  });
});
