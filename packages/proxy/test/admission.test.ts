import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Admission, type Waiter } from '../src/core/admission.ts';

/** Notes what happens to it under its name. */
const waiterOf = (name: string, log: string[]): Waiter => ({
  begin: () => log.push(`begin ${name}`),
  pushOut: () => log.push(`out ${name}`),
});

describe('Admission', () => {
  it('lets groups take turns, first come first served within each', () => {
    const admission = new Admission({ activeCountMax: 1, queueLengthMax: 10 });
    const log: string[] = [];
    const enter = (group: string, name: string) => admission.enter(group, waiterOf(name, log));
    enter('crowd', 'c0');
    for (const name of ['c1', 'c2', 'c3']) enter('crowd', name);
    enter('quiet', 'q1');
    enter('quiet', 'q2');
    for (let at = 0; at < 6; at += 1) admission.leave();
    expect(log).toEqual(['c0', 'c1', 'q1', 'c2', 'q2', 'c3'].map((name) => `begin ${name}`));
    expect([admission.activeCount, admission.queueLength]).toEqual([0, 0]);
  });

  it('takes the newest of the longest group out of a full queue for somebody else', () => {
    const admission = new Admission({ activeCountMax: 1, queueLengthMax: 3 });
    const log: string[] = [];
    const enter = (group: string, name: string) => admission.enter(group, waiterOf(name, log));
    enter('crowd', 'c0');
    for (const name of ['c1', 'c2', 'c3']) expect(enter('crowd', name)).toBe('queued');
    expect(enter('crowd', 'c4')).toBe('full');
    expect(enter('quiet', 'q1')).toBe('queued');
    // Two against one: another exchange would only turn the tables.
    expect(enter('quiet', 'q2')).toBe('full');
    expect(log).toEqual(['begin c0', 'out c3']);
  });

  it('lets thousands be refused one after another as their turns come', () => {
    const admission = new Admission({ activeCountMax: 1, queueLengthMax: 20_000 });
    let refusedCount = 0;
    const refused: Waiter = {
      begin: () => {
        refusedCount += 1;
        admission.leave();
      },
      pushOut: () => {},
    };
    admission.enter('a', waiterOf('first', []));
    for (let count = 0; count < 20_000; count += 1) {
      admission.enter('a', { ...refused });
    }
    admission.leave();
    expect([refusedCount, admission.activeCount, admission.queueLength]).toEqual([20_000, 0, 0]);
  });

  it('keeps its books through any coming and going', () => {
    const step = fc.record({ group: fc.constantFrom('a', 'b', 'c'), what: fc.nat({ max: 3 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const admission = new Admission({ activeCountMax: 2, queueLengthMax: 4 });
        const waiting = new Map<Waiter, string>();
        let activeCount = 0;
        for (const { group, what } of steps) {
          if (what < 2) {
            const waiter: Waiter = {
              begin: () => {
                activeCount += 1;
                waiting.delete(waiter);
              },
              pushOut: () => waiting.delete(waiter),
            };
            waiting.set(waiter, group);
            if (admission.enter(group, waiter) === 'full') waiting.delete(waiter);
          } else if (what === 2 && activeCount > 0) {
            activeCount -= 1;
            admission.leave();
          } else {
            for (const [waiter, itsGroup] of waiting) {
              expect(admission.withdraw(itsGroup, waiter)).toBe(true);
              expect(admission.withdraw(itsGroup, waiter)).toBe(false);
              waiting.delete(waiter);
              break;
            }
          }
          admission.checkInvariants();
          expect([admission.activeCount, admission.queueLength]).toEqual([
            activeCount,
            waiting.size,
          ]);
        }
      }),
    );
  });
});
