import { SeededRandom } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { Attempt, type AttemptPort, type AttemptTerms, type Leg } from '../src/core/attempt.ts';
import type { Identity } from '../src/core/identity.ts';
import { InstancePool } from '../src/core/instance-pool.ts';
import { loadOf, noFacts } from '../src/core/policies/policy.ts';
import { roundRobin } from '../src/core/policies/round-robin.ts';
import { RequestPlan } from '../src/core/request-plan.ts';
import { RetryBudget } from '../src/core/retry-budget.ts';

const identity: Identity = {
  modelIds: ['m'],
  models: [],
  ours: true,
  fingerprint: 'f',
  tensorParallelSize: 1,
  engineId: null,
  kvRole: null,
  pd: null,
};
const shared: AttemptTerms = { order: 'prefill-first', handover: 'shared', release: 'nothing' };
const singleUse: AttemptTerms = {
  ...{ order: 'prefill-first', handover: 'single-use', release: 'deliver-then-abort' },
};
const clock = new FakeClock();
const nothing: AttemptPort = {
  ...{ send: () => {}, close: () => {}, awaitHandover: () => {}, entered: () => {} },
  over: () => {},
};

interface Patience {
  readonly nobodyUpWaitMs?: number;
  readonly saved?: number;
  readonly hasLegs?: boolean;
}

function cluster(prefillCount: number, decodeCount: number) {
  const pool = new InstancePool({
    model: 'm',
    policies: { prefill: roundRobin, decode: roundRobin },
    random: new SeededRandom(1),
    instanceCountMax: 64,
    clock,
  });
  const add = (kind: Leg, port: number) => {
    const instance = pool.add(kind, { host: 'h', port });
    pool.identified(instance, identity);
    return instance;
  };
  const prefill = Array.from({ length: prefillCount }, (_, at) => add('prefill', 100 + at));
  const decode = Array.from({ length: decodeCount }, (_, at) => add('decode', 200 + at));
  const plan = ({ nobodyUpWaitMs = 0, saved = 1_000, hasLegs = true }: Patience = {}) =>
    new RequestPlan(
      pool,
      new RetryBudget({ retriesPerRequest: 0, retriesPerSecond: 0, savedMax: saved }, 0),
      {
        request: { ...noFacts, promptTokenCount: 10 },
        ...{ retryUntilMs: 30_000, resumeWithinMs: 10_000, nobodyUpWaitMs, hasLegs },
        skipPrefillBelowTokens: 0,
      },
    );
  /** The next step as a try that has begun. */
  const tried = (request: RequestPlan, nowMs: number, terms = shared) => {
    const step = request.next(nowMs);
    if (step.kind !== 'attempt') throw new Error(`no attempt but ${step.kind}`);
    const attempt = new Attempt(clock, pool, step, terms, nothing);
    attempt.begin();
    return attempt;
  };
  const failed = (request: RequestPlan, nowMs: number, reason: 'reset' | 'connect' = 'reset') => {
    const attempt = tried(request, nowMs);
    attempt.failed('decode', reason, 'died');
    request.ended(attempt, nowMs);
  };
  return { pool, prefill, decode, plan, tried, failed };
}

/** Where the plan goes when every try fails in the given leg, if it has that leg. */
function route(
  { pool, plan }: ReturnType<typeof cluster>,
  at: Leg,
  reason: 'status' | 'connect',
  terms = shared,
  patience: Patience = {},
) {
  const request = plan(patience);
  const visited: string[] = [];
  for (let nowMs = 0; ; ) {
    const step = request.next(nowMs);
    if (step.kind === 'give-up') return [...visited, step.why];
    if (step.kind === 'wait') {
      nowMs += step.delayMs;
      visited.push('wait');
      continue;
    }
    visited.push(
      [step.prefill, step.decode].map((one) => one?.instance.address.slice(2) ?? '-').join(' '),
    );
    const attempt = new Attempt(clock, pool, step, terms, nothing);
    attempt.begin();
    if (at === 'decode') {
      attempt.prefillAnswered(true, false);
      if (attempt.prefill !== null && terms.handover === 'shared') request.handedOver();
    }
    attempt.failed(attempt.prefill === null ? 'decode' : at, reason, 'it broke');
    request.ended(attempt, nowMs);
    pool.checkInvariants();
    expect(pool.instances.every((one) => one.activeRequestCount + loadOf(one) === 0)).toBe(true);
  }
}

describe('RequestPlan', () => {
  it('tries every prefill, every decode, then the other kind, then all again after a pause', () => {
    const visited = route(cluster(2, 2), 'prefill', 'status');
    expect(visited.slice(0, 8)).toEqual([
      ...['100 200', '101 200'],
      ...['- 200', '- 201', '- 100', '- 101', 'wait', '- 200'],
    ]);
    expect(visited.at(-1)).toBe('all-failed');
  });

  it('needs no new prefill leg for what any decode instance can use, else a new pair', () => {
    expect(route(cluster(2, 2), 'decode', 'status').slice(0, 3)).toEqual([
      ...['100 200', '- 201', '- 101'],
    ]);
    expect(route(cluster(2, 2), 'decode', 'status', singleUse).slice(0, 4)).toEqual([
      ...['100 200', '101 201', 'wait', '100 200'],
    ]);
  });

  it('does not repeat without end what fails everywhere', () => {
    const visited = route(cluster(2, 2), 'decode', 'status', shared, { saved: 1 });
    // The instance that fails most costs nothing the first time; others, and repetitions, do.
    expect(visited.at(-1)).toBe('budget-spent');
    expect(visited.length).toBeLessThan(route(cluster(2, 2), 'decode', 'status').length);
  });

  it('gives up when nobody is up any more', () => {
    expect(route(cluster(1, 1), 'prefill', 'connect')).toEqual(['100 200', '- 200', 'none-up']);
    expect(route(cluster(0, 0), 'prefill', 'connect')).toEqual(['none-up']);
  });

  it('waits for a probe before it says that nobody is up, unless nobody could be', () => {
    expect(route(cluster(1, 1), 'prefill', 'connect', shared, { nobodyUpWaitMs: 600 })).toEqual([
      ...['100 200', '- 200'],
      ...['wait', 'wait', 'wait', 'none-up'],
    ]);
  });

  it('leaves the hand-over out when a kind is missing', () => {
    const noDecode = cluster(2, 0).plan();
    expect(noDecode.next(0)).toMatchObject({
      prefill: null,
      decode: { instance: { address: 'h:100' } },
    });
    expect(noDecode.skipReason).toBe('no-decode-up');
    const noPrefill = cluster(0, 1).plan();
    expect(noPrefill.next(0)).toMatchObject({
      prefill: null,
      decode: { instance: { address: 'h:200' } },
    });
    expect(noPrefill.skipReason).toBe('no-prefill-up');
  });

  it('continues a stream elsewhere, on the same weights only', () => {
    const { pool, decode, plan: newPlan, tried } = cluster(0, 3);
    const [first, other] = decode;
    if (other !== undefined) pool.identified(other, { ...identity, fingerprint: 'else' });
    const plan = newPlan();
    const attempt = tried(plan, 0);
    plan.streamed(attempt.decode.instance, 'same-weights');
    // Another engine has come up where the stream began.
    if (first !== undefined) pool.identified(first, { ...identity, fingerprint: 'else' });
    attempt.failed('decode', 'reset', 'died');
    plan.ended(attempt, 0);
    expect(plan.next(0)).toMatchObject({
      kind: 'attempt',
      decode: { instance: { address: 'h:202' } },
    });
  });

  it('continues the stream of another engine at another engine only', () => {
    const { pool, decode, plan: newPlan, tried } = cluster(0, 3);
    const [first, , third] = decode;
    for (const one of [first, third]) {
      if (one !== undefined) pool.identified(one, { ...identity, ours: false, fingerprint: null });
    }
    const plan = newPlan();
    const attempt = tried(plan, 0);
    plan.streamed(attempt.decode.instance, 'same-model');
    attempt.failed('decode', 'reset', 'died');
    plan.ended(attempt, 0);
    expect(plan.next(0)).toMatchObject({
      kind: 'attempt',
      decode: { instance: { address: 'h:202' } },
    });
  });

  it('gives up a stream that nobody can continue', () => {
    const { plan: newPlan, tried } = cluster(0, 2);
    const plan = newPlan();
    const attempt = tried(plan, 0);
    plan.streamed(attempt.decode.instance, 'nobody');
    attempt.failed('decode', 'reset', 'died');
    plan.ended(attempt, 0);
    expect(plan.next(0)).toEqual({ kind: 'give-up', why: 'cannot-resume' });
  });

  it('waits for somebody to come up when a stream broke, within its bound', () => {
    const { pool, decode, plan: newPlan, tried, failed } = cluster(0, 1);
    const plan = newPlan();
    const attempt = tried(plan, 50_000);
    plan.streamed(attempt.decode.instance, 'same-weights');
    attempt.failed('decode', 'connect', 'died');
    plan.ended(attempt, 50_000);
    expect(plan.next(50_000).kind).toBe('wait');
    const [one] = decode;
    if (one !== undefined) pool.identified(one, identity);
    expect(plan.next(50_250).kind).toBe('wait');
    failed(plan, 50_500, 'connect');
    expect(plan.next(60_500)).toEqual({ kind: 'give-up', why: 'none-up' });
  });

  it('hedges at other instances than those that are slow, and not a stream', () => {
    const { plan: newPlan, tried } = cluster(2, 2);
    const plan = newPlan();
    const attempt = tried(plan, 0);
    expect(plan.hedge(attempt, 0)).toMatchObject({
      prefill: { instance: { address: 'h:101' } },
      decode: { instance: { address: 'h:201' } },
    });
    plan.streamed(attempt.decode.instance, 'same-weights');
    expect(plan.hedge(attempt, 0)).toBeNull();
    const alone = cluster(1, 1);
    const only = alone.plan();
    expect(only.hedge(alone.tried(only, 0), 0)).toBeNull();
  });
});

describe('RetryBudget', () => {
  const { decode } = cluster(0, 3);
  const [one, two, three] = decode as [never, never, never];
  const budget = (savedMax: number) =>
    new RetryBudget({ retriesPerRequest: 0.2, retriesPerSecond: 10, savedMax }, 0);

  it('is never used up by one broken instance', () => {
    const own = budget(1);
    for (let count = 0; count < 10_000; count += 1) {
      expect(own.allows(one, false, count / 100)).toBe(true);
      own.requestBegan();
    }
  });

  it('allows a fraction of the requests, and so many a second, when all fail', () => {
    const own = budget(50);
    let allowed = 0;
    for (let count = 0; count < 3_000; count += 1) {
      own.requestBegan();
      for (const instance of [one, two, three]) {
        if (own.allows(instance, true, 0)) allowed += 1;
      }
    }
    expect(allowed).toBe(50 + Math.floor(0.2 * 2_999));
    expect(own.allows(two, true, 0)).toBe(false);
    expect(own.allows(two, true, 1_000)).toBe(true);
  });
});
