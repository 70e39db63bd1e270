import { SeededRandom } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AttemptWatch } from '../src/attempt-watch.ts';
import { Attempt, type AttemptPort, type AttemptTerms, type Leg } from '../src/core/attempt.ts';
import { InstancePool } from '../src/core/instance-pool.ts';
import { loadOf, noFacts } from '../src/core/policies/policy.ts';
import { roundRobin } from '../src/core/policies/round-robin.ts';
import { deadlines } from '../src/deadlines.ts';

const terms: AttemptTerms[] = (['prefill-first', 'together'] as const).flatMap((order) =>
  (['shared', 'single-use'] as const).flatMap((handover) =>
    (['nothing', 'deliver-then-abort', 'abort-both'] as const).map((release) => ({
      ...{ order, handover, release },
    })),
  ),
);
const singleUse: AttemptTerms = {
  ...{ order: 'prefill-first', handover: 'single-use', release: 'deliver-then-abort' },
};
const together: AttemptTerms = { ...singleUse, order: 'together' };
const sglang: AttemptTerms = { ...together, release: 'abort-both' };

const facts = { ...noFacts, promptTokenCount: 9, outputTokenCount: 9 };

/** A try whose shell only notes what it is asked to do. */
function attemptOf(its: AttemptTerms, withPrefill = true, onSend: (leg: Leg) => void = () => {}) {
  const clock = new FakeClock();
  const pool = new InstancePool({
    model: 'm',
    policies: { prefill: roundRobin, decode: roundRobin },
    random: new SeededRandom(1),
    instanceCountMax: 2,
    clock,
  });
  const prefill = pool.add('prefill', { host: 'h', port: 1 });
  const decode = pool.add('decode', { host: 'h', port: 2 });
  const did: string[] = [];
  const watch = new AttemptWatch(clock, deadlines, 1_000, {
    onExpired: (message) => attempt.expired(message),
    onSilent: () => {},
    onClientStalled: () => {},
  });
  const port: AttemptPort = {
    send: (leg) => {
      did.push(`send ${leg}`);
      onSend(leg);
    },
    close: (leg) => did.push(`close ${leg}`),
    awaitHandover: () => did.push('await'),
    entered: (stage) => {
      if (stage === 'done') watch.cancel();
      else if (stage === 'streaming') watch.sawBytes();
      else watch.enter(1_000, null, 'decode');
    },
    over: (outcome) => did.push(outcome),
  };
  const attempt = new Attempt(
    clock,
    pool,
    {
      prefill: withPrefill ? pool.assign('prefill', [prefill], facts, 0) : null,
      decode: pool.assign('decode', [decode], facts, 0),
    },
    its,
    port,
  );
  const charged = () => [prefill.failureCount, decode.failureCount];
  const active = () => [prefill.activeRequestCount, decode.activeRequestCount];
  return { attempt, did, charged, active, clock, pool };
}

describe('Attempt', () => {
  it('sends decode when prefill has answered, or both at once', () => {
    const first = attemptOf(singleUse);
    first.attempt.begin();
    expect([first.did, first.active()]).toEqual([['send prefill'], [1, 1]]);
    first.attempt.prefillAnswered(true, true);
    expect(first.did.at(-1)).toBe('await');
    first.attempt.handoverReady();
    first.attempt.decodeBytes();
    first.attempt.decodeAnswered();
    expect(first.did.slice(1)).toEqual(['await', 'send decode', 'answered']);
    expect(first.attempt.stranded).toBe(false);
    const both = attemptOf(together);
    both.attempt.begin();
    expect(both.did).toEqual(['send prefill', 'send decode']);
  });

  it('charges the leg that failed alone, and closes the other', () => {
    const one = attemptOf(together);
    one.attempt.begin();
    one.attempt.failed('prefill', 'status', 'broke');
    expect(one.did.slice(2)).toEqual(['close decode', 'failed']);
    expect([one.charged(), one.active(), one.attempt.stranded]).toEqual([[1, 0], [0, 0], false]);
    const other = attemptOf(together);
    other.attempt.begin();
    other.attempt.failed('decode', 'connect', 'broke');
    expect(other.did.slice(2)).toEqual(['close prefill', 'failed']);
    expect([other.charged(), other.active()]).toEqual([
      [0, 1],
      [0, 0],
    ]);
  });

  it("passes on a refusal of either leg's instance and charges nobody", () => {
    for (const leg of ['prefill', 'decode'] as const) {
      const { attempt, did, charged } = attemptOf(sglang);
      attempt.begin();
      attempt.refused(leg);
      expect(did.slice(2)).toEqual([
        `close ${leg === 'prefill' ? 'decode' : 'prefill'}`,
        'refused',
      ]);
      expect(charged()).toEqual([0, 0]);
    }
    const first = attemptOf(singleUse);
    first.attempt.begin();
    first.attempt.refused('prefill');
    expect(first.did).toEqual(['send prefill', 'refused']);
  });

  it('closes the prefill leg when the client leaves during it', () => {
    const { attempt, did } = attemptOf(singleUse);
    attempt.begin();
    attempt.leave();
    expect(did).toEqual(['send prefill', 'close prefill', 'left']);
    expect(attempt.stranded).toBe(false);
  });

  it('delivers decode for a client that left after prefill, and closes it after its first bytes', () => {
    const { attempt, did } = attemptOf(singleUse);
    attempt.begin();
    attempt.prefillAnswered(true, true);
    attempt.leave();
    expect(did.slice(2)).toEqual(['send decode']);
    attempt.decodeBytes();
    expect(did.slice(3)).toEqual(['close decode', 'left']);
    expect(attempt.stranded).toBe(false);
  });

  it('counts what prefill keeps for nobody', () => {
    const late = attemptOf(singleUse);
    late.attempt.begin();
    late.attempt.prefillAnswered(true, false);
    late.attempt.leave();
    late.clock.advance(1_000);
    expect(late.did.slice(1)).toEqual(['send decode', 'close decode', 'left']);
    const failed = attemptOf(singleUse);
    failed.attempt.begin();
    failed.attempt.prefillAnswered(true, false);
    failed.attempt.failed('decode', 'connect', 'nobody there');
    expect([late.attempt.stranded, failed.attempt.stranded]).toEqual([true, true]);
    expect(failed.charged()).toEqual([0, 1]);
  });

  it('lets go of both legs at once where the protocol allows it', () => {
    const { attempt, did } = attemptOf(sglang);
    attempt.begin();
    attempt.leave();
    expect(did.slice(2)).toEqual(['close decode', 'close prefill', 'left']);
    const admitted = attemptOf(together);
    admitted.attempt.begin();
    admitted.attempt.leave();
    expect(admitted.did).toHaveLength(2);
    admitted.attempt.decodeBytes();
    expect(admitted.did.slice(2)).toEqual(['close decode', 'close prefill', 'left']);
  });

  it('does not care for the prefill leg any more once decode answers', () => {
    const { attempt, did, charged } = attemptOf(together);
    attempt.begin();
    attempt.decodeBytes();
    attempt.failed('prefill', 'reset', 'broke');
    expect([did.length, charged()]).toEqual([2, [1, 0]]);
    attempt.decodeAnswered();
    expect(did.slice(2)).toEqual(['answered']);
  });

  it('gives up the leg whose stage takes too long, but goes on without a hand-over', () => {
    const { attempt, did, charged, clock } = attemptOf(singleUse);
    attempt.begin();
    attempt.prefillAnswered(true, true);
    clock.advance(1_000);
    expect(did.slice(1)).toEqual(['await', 'send decode']);
    clock.advance(1_000);
    expect(did.slice(3)).toEqual(['close decode', 'failed']);
    expect([charged(), attempt.failure?.reason]).toEqual([[0, 1], 'timeout']);
  });

  const leg = fc.constantFrom<Leg>('prefill', 'decode');
  const event = fc.record({
    what: fc.constantFrom(
      'answered',
      'refused',
      'failed',
      'bytes',
      'ready',
      'leave',
      'expired',
      'time',
    ),
    leg,
    handsOver: fc.boolean(),
    waits: fc.boolean(),
  });

  it('releases each leg once and leaves no timer, load or KV behind, whatever happens when', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...terms),
        fc.boolean(),
        fc.constantFrom<Leg | null>('prefill', 'decode', null),
        fc.array(event, { maxLength: 12 }),
        (its, withPrefill, failsAtOnce, events) => {
          const sent = new Set<Leg>();
          const ended = new Set<Leg>();
          const world = attemptOf(its, withPrefill, (which) => {
            sent.add(which);
            // A connection may be refused before `send` returns.
            if (which !== failsAtOnce) return;
            ended.add(which);
            attempt.failed(which, 'connect', 'refused');
          });
          const { attempt, did, clock, pool } = world;
          const closed = () =>
            did.filter((one) => one.startsWith('close')).map((one) => one.slice(6));
          attempt.begin();
          const happen = (one: (typeof events)[number]): void => {
            // An instance says nothing on a leg that was not sent, has ended, or was closed.
            const speaks = (which: Leg) =>
              sent.has(which) && !ended.has(which) && !closed().includes(which);
            const ends = (which: Leg) => speaks(which) && ended.add(which);
            switch (one.what) {
              case 'answered':
                if (!ends(one.leg)) break;
                if (one.leg === 'decode') attempt.decodeAnswered();
                else attempt.prefillAnswered(one.handsOver, one.waits);
                break;
              case 'refused':
                if (ends(one.leg)) attempt.refused(one.leg);
                break;
              case 'failed':
                if (ends(one.leg)) attempt.failed(one.leg, 'reset', 'broke');
                break;
              case 'bytes':
                if (speaks('decode')) attempt.decodeBytes();
                break;
              case 'ready':
                attempt.handoverReady();
                break;
              case 'leave':
                attempt.leave();
                break;
              case 'expired':
                attempt.expired('late');
                break;
              case 'time':
                clock.advance(700);
            }
          };
          for (const one of events) {
            happen(one);
            attempt.checkInvariants();
            pool.checkInvariants();
          }
          // Whatever is left over ends by its deadlines alone.
          for (let count = 0; count < 40; count += 1) clock.advance(1_000);
          attempt.checkInvariants();
          pool.checkInvariants();
          expect(attempt.outcome).not.toBeNull();
          expect(world.active()).toEqual([0, 0]);
          expect(pool.instances.map(loadOf)).toEqual([0, 0]);
          expect(clock.waitingCount).toBe(0);
          const outcomes = did.filter((one) => !/ |await/.test(one));
          expect(outcomes).toEqual([attempt.outcome]);
          expect(did.at(-1)).toBe(attempt.outcome);
          // Of each leg that was sent: either it ended by itself, or it was closed, once.
          for (const which of sent) {
            expect(did.filter((one) => one === `send ${which}`)).toHaveLength(1);
            const closings = closed().filter((one) => one === which).length;
            expect(closings + (ended.has(which) ? 1 : 0)).toBe(1);
          }
          expect(closed().every((one) => sent.has(one as Leg))).toBe(true);
          expect(world.charged().reduce((sum, count) => sum + count)).toBeLessThanOrEqual(2);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
