import { SeededRandom } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Identity } from '../src/core/identity.ts';
import { InstancePool } from '../src/core/instance-pool.ts';
import { loadOf, noFacts } from '../src/core/policies/policy.ts';
import { roundRobin } from '../src/core/policies/round-robin.ts';
import { RequestPlan } from '../src/core/request-plan.ts';

const identity: Identity = {
  modelIds: ['m'],
  models: [],
  ours: true,
  fingerprint: 'f',
  tensorParallelSize: 1,
  engineId: null,
  kvRole: null,
};

function cluster(prefillCount: number, decodeCount: number) {
  const pool = new InstancePool({
    model: 'm',
    policies: { prefill: roundRobin, decode: roundRobin },
    random: new SeededRandom(1),
    instanceCountMax: 64,
    clock: new FakeClock(),
  });
  const add = (kind: 'prefill' | 'decode', port: number) => {
    const instance = pool.add(kind, { host: 'h', port });
    pool.identified(instance, identity);
    return instance;
  };
  const prefill = Array.from({ length: prefillCount }, (_, at) => add('prefill', 100 + at));
  const decode = Array.from({ length: decodeCount }, (_, at) => add('decode', 200 + at));
  const plan = () =>
    new RequestPlan(pool, {
      request: { ...noFacts, promptTokenCount: 10 },
      retryUntilMs: 30_000,
      resumeWithinMs: 10_000,
      nobodyUpWaitMs: 0,
    });
  return { pool, prefill, decode, plan };
}

/** Where the plan goes when every attempt fails for `reason`. */
function route(plan: RequestPlan, reason: 'status' | 'connect') {
  const visited: string[] = [];
  for (let nowMs = 0; ; ) {
    const step = plan.next(nowMs);
    if (step.kind === 'give-up') return [...visited, step.why];
    if (step.kind === 'wait') {
      nowMs += step.delayMs;
      visited.push('wait');
      continue;
    }
    visited.push(`${step.leg} ${step.instance.address}`);
    plan.failed(reason, 'it broke', nowMs);
  }
}

describe('RequestPlan', () => {
  it('tries every prefill, every decode, then the other kind, then all again after a pause', () => {
    const visited = route(cluster(2, 2).plan(), 'status');
    expect(visited.slice(0, 8)).toEqual([
      'prefill h:100',
      'prefill h:101',
      'decode h:200',
      'decode h:201',
      'decode h:100',
      'decode h:101',
      'wait',
      'decode h:200',
    ]);
    expect(visited.at(-1)).toBe('all-failed');
  });

  it('gives up when nobody is up any more', () => {
    expect(route(cluster(1, 1).plan(), 'connect')).toEqual([
      'prefill h:100',
      'decode h:200',
      'none-up',
    ]);
    expect(route(cluster(0, 0).plan(), 'connect')).toEqual(['none-up']);
  });

  it('waits for a probe before it says that nobody is up, unless nobody could be', () => {
    const { pool, plan } = cluster(1, 1);
    const patient = new RequestPlan(pool, {
      ...{
        request: { ...noFacts, promptTokenCount: 10 },
        retryUntilMs: 30_000,
        resumeWithinMs: 10_000,
      },
      nobodyUpWaitMs: 600,
    });
    expect(route(patient, 'connect')).toEqual([
      ...['prefill h:100', 'decode h:200'],
      ...['wait', 'wait', 'wait', 'none-up'],
    ]);
    expect(route(plan(), 'connect')).toEqual(['none-up']);
  });

  it('leaves the hand-over out when a kind is missing', () => {
    const noDecode = cluster(2, 0).plan();
    expect(noDecode.next(0)).toMatchObject({ leg: 'decode', instance: { address: 'h:100' } });
    expect(noDecode.skipReason).toBe('no-decode-up');
    const noPrefill = cluster(0, 1).plan();
    expect(noPrefill.next(0)).toMatchObject({ leg: 'decode', instance: { address: 'h:200' } });
    expect(noPrefill.skipReason).toBe('no-prefill-up');
  });

  it('continues a stream elsewhere, on the same weights only', () => {
    const { pool, decode, plan: newPlan } = cluster(0, 3);
    const [, other] = decode;
    if (other !== undefined) pool.identified(other, { ...identity, fingerprint: 'else' });
    const plan = newPlan();
    plan.next(0);
    plan.streamed(true, 0);
    plan.failed('reset', 'died', 0);
    expect(plan.next(0)).toMatchObject({ kind: 'attempt', instance: { address: 'h:202' } });
  });

  it('gives up a stream that nobody can continue', () => {
    const plan = cluster(0, 2).plan();
    plan.next(0);
    plan.streamed(false, 0);
    plan.failed('reset', 'died', 0);
    expect(plan.next(0)).toEqual({ kind: 'give-up', why: 'cannot-resume' });
  });

  it('waits for somebody to come up when a stream broke, within its bound', () => {
    const { pool, decode, plan: newPlan } = cluster(0, 1);
    const plan = newPlan();
    plan.next(50_000);
    plan.streamed(true, 0);
    plan.failed('connect', 'died', 50_000);
    expect(plan.next(50_000).kind).toBe('wait');
    const [one] = decode;
    if (one !== undefined) pool.identified(one, identity);
    expect(plan.next(50_250).kind).toBe('wait');
    expect(plan.next(50_500)).toMatchObject({ kind: 'attempt' });
    plan.failed('connect', 'died', 50_500);
    expect(plan.next(60_500)).toEqual({ kind: 'give-up', why: 'none-up' });
  });

  it('keeps all counters right through any order of events', () => {
    const event = fc.constantFrom('next', 'done', 'status', 'connect', 'streamed', 'up', 'end');
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.nat(3)), { maxLength: 200 }), (events) => {
        const { pool, prefill, decode, plan: newPlan } = cluster(2, 2);
        const plans = Array.from({ length: 4 }, () => ({ plan: newPlan(), leg: '', over: false }));
        let nowMs = 0;
        for (const [what, at] of events) {
          const one = plans[at] as (typeof plans)[number];
          nowMs += 50;
          if (what === 'up') pool.identified([...prefill, ...decode][at] ?? raise(), identity);
          else if (what === 'end') {
            one.plan.end(0, 0);
            one.over = true;
          } else if (one.over) continue;
          else if (what === 'next' && one.leg === '') {
            const step = one.plan.next(nowMs);
            if (step.kind === 'attempt') one.leg = step.leg;
            if (step.kind === 'give-up') {
              one.plan.end(0, 0);
              one.over = true;
            }
          } else if (one.leg === 'prefill' && what === 'done') {
            one.plan.prefillDone(nowMs);
            one.leg = '';
          } else if (one.leg === 'decode' && what === 'streamed') one.plan.streamed(true, 0);
          else if (one.leg !== '' && (what === 'status' || what === 'connect')) {
            one.plan.failed(what, 'broke', nowMs);
            one.leg = '';
          }
          one.plan.checkInvariants();
          pool.checkInvariants();
        }
        for (const { plan } of plans) plan.end(0, 0);
        pool.checkInvariants();
        expect(
          pool.instances.every((one) => one.activeRequestCount === 0 && loadOf(one) === 0),
        ).toBe(true);
      }),
    );
  });
});

function raise(): never {
  throw new Error('there is no such instance');
}
