import { assert } from '@tsukimi/base';
import type { Attempt, AttemptPair, Leg } from './attempt.ts';
import type { InstancePool } from './instance-pool.ts';
import { servesAlone, speakTheSame } from './pd-facts.ts';
import type { RequestFacts } from './policies/policy.ts';
import type { PoolInstance } from './pool-instance.ts';
import type { RetryBudget } from './retry-budget.ts';

export type Step =
  /** Make this try, then tell how it ended. */
  | ({ readonly kind: 'attempt' } & AttemptPair)
  /** Everything was tried; ask again after this long. */
  | { readonly kind: 'wait'; readonly delayMs: number }
  | { readonly kind: 'give-up'; readonly why: GiveUpReason };

export type GiveUpReason = 'none-up' | 'all-failed' | 'cannot-resume' | 'budget-spent';
export type SkipReason = 'little-to-compute' | 'no-prefill-up' | 'no-decode-up' | 'prefill-failed';

/**
 * Who can continue a stream that broke. `same-weights`: an instance of ours with the same fingerprint,
 * for all that is drawn depends on seed and position alone. `same-model`: an instance of another
 * engine, by the token ids so far.
 */
export type Continuation = 'same-weights' | 'same-model' | 'nobody';

export interface RequestPlanOptions {
  readonly request: RequestFacts;
  /** Instances that were tried already are tried again until then, on the monotonic clock. */
  readonly retryUntilMs: number;
  /** A stream that broke looks for somebody to continue it for at least this long. */
  readonly resumeWithinMs: number;
  /** A request that finds nobody up waits this long: an instance may be back that was not probed since. */
  readonly nobodyUpWaitMs: number;
  /**
   * Where a decode instance would have to compute fewer tokens than this, by what it should have cached,
   * it does so itself: a prefill leg would cost more than it saves.
   */
  readonly skipPrefillBelowTokens: number;
  /** False: it is no generation, and any one instance does all of it. */
  readonly hasLegs: boolean;
}

/** Over the whole life of a request, so that one that kills its instances cannot kill them all. */
const attemptCountMax = 24;
/** How often all instances are gone through without progress. */
const roundCountMax = 4;
const firstPauseMs = 100;
const nobodyUpPauseMs = 250;
const none: readonly PoolInstance[] = [];

/**
 * Where one request goes next: tries of a pair, tries of a decode instance alone once the hand-over is
 * there for everybody, a stream, and its continuation elsewhere. Chooses; what a try holds is the
 * business of `Attempt`.
 */
export class RequestPlan {
  readonly #pool: InstancePool;
  readonly #budget: RetryBudget;
  readonly #options: RequestPlanOptions;
  #state: 'pair' | 'decode' | 'streaming' = 'pair';
  /** Since the last progress, in this round: who failed. */
  #failedPrefill: readonly PoolInstance[] = none;
  #failedDecode: readonly PoolInstance[] = none;
  /** In earlier rounds. */
  #failedBefore: readonly PoolInstance[] = none;
  /** Had its place kept by a try whose prefill leg failed. */
  #keptDecode: PoolInstance | null = null;
  #attemptCount = 0;
  #roundCount = 1;
  #retryUntilMs: number;
  #budgetSpent = false;
  /** The last one to fail did so by refusing, which it would do again. */
  #refused = false;
  /** Set once nobody was up. */
  #nobodyUpUntilMs: number | null = null;
  #continuation: Continuation = 'nobody';
  /** Whose pieces make the stream that the client has the beginning of, and of which weights. */
  #streamedFrom: PoolInstance | null = null;
  #fingerprint: string | null = null;
  #skipReason: SkipReason | null = null;
  /** A prefill leg has left the prompt's KV for whoever decodes. */
  #prefilled = false;

  constructor(pool: InstancePool, budget: RetryBudget, options: RequestPlanOptions) {
    this.#pool = pool;
    this.#budget = budget;
    this.#options = options;
    this.#retryUntilMs = options.retryUntilMs;
    if (!options.hasLegs) this.#enterDecode();
  }

  /** Why no prefill instance took part; null when one did, or still may. */
  get skipReason(): SkipReason | null {
    return this.#skipReason;
  }

  get streaming(): boolean {
    return this.#state === 'streaming';
  }

  next(nowMs: number): Step {
    if (this.#state === 'pair') {
      const reason = this.#skipPrefill();
      if (reason !== null && this.#anybodyAlone()) {
        this.#skipReason = reason;
        this.#enterDecode();
      }
    }
    if (this.#state === 'streaming' && this.#continuation === 'nobody') {
      return { kind: 'give-up', why: 'cannot-resume' };
    }
    if (this.#budgetSpent) return { kind: 'give-up', why: 'budget-spent' };
    if (this.#attemptCount >= attemptCountMax) return { kind: 'give-up', why: 'all-failed' };
    return this.#untriedPair(nowMs) ?? this.#nextRound(nowMs);
  }

  /**
   * A second try beside `running`, whose answer is late, at other instances; null when there are none,
   * or when the first bytes have come.
   */
  hedge(running: Attempt, nowMs: number): AttemptPair | null {
    if (this.#state === 'streaming' || this.#attemptCount >= attemptCountMax) return null;
    const others = (kind: Leg, used: PoolInstance | undefined) =>
      this.#untried(kind).filter((one) => one !== used);
    const prefill = this.#state === 'pair' ? others('prefill', running.prefill?.instance) : none;
    const decode = others('decode', running.decode.instance);
    if (decode.length === 0 || (this.#state === 'pair' && prefill.length === 0)) return null;
    if (!this.#budget.allows((running.prefill ?? running.decode).instance, true, nowMs))
      return null;
    return this.#assigned(prefill, decode, nowMs);
  }

  /** What a prefill leg left is there for every decode instance: no other one is needed. */
  handedOver(): void {
    this.#prefilled = true;
    if (this.#state === 'pair') this.#enterDecode();
  }

  /** The try is over. Charges nobody; remembers who failed. */
  ended(attempt: Attempt, nowMs: number): void {
    const { failure } = attempt;
    if (failure === null) return;
    const atPrefill = failure.leg === 'prefill';
    const assignment = atPrefill ? attempt.prefill : attempt.decode;
    assert(assignment !== null, 'a leg that failed was sent somewhere');
    const { instance } = assignment;
    this.#refused = failure.reason === 'refused';
    this.#keptDecode = atPrefill ? attempt.decode.instance : null;
    const again =
      this.#failedBefore.includes(instance) ||
      (atPrefill ? this.#failedPrefill : this.#failedDecode).includes(instance);
    if (atPrefill) this.#failedPrefill = [...this.#failedPrefill, instance];
    else this.#failedDecode = [...this.#failedDecode, instance];
    if (!this.#budget.allows(instance, again, nowMs)) this.#spent();
    if (this.#state === 'streaming') {
      this.#retryUntilMs = Math.max(this.#retryUntilMs, nowMs + this.#options.resumeWithinMs);
    }
  }

  /** The client has got a piece of the stream; to be called for each, since it must be cheap. */
  streamed(from: PoolInstance, continuation: Continuation): void {
    if (this.#streamedFrom === from && this.#continuation === continuation) return;
    this.#streamedFrom = from;
    // As it was when the stream began: another engine may come up at the same address.
    this.#fingerprint = from.identity?.fingerprint ?? null;
    this.#continuation = continuation;
    this.#state = 'streaming';
    this.#failedDecode = none;
    this.#failedPrefill = none;
    this.#failedBefore = none;
    this.#roundCount = 1;
  }

  #skipPrefill(): SkipReason | null {
    // Without a decode instance a prefill instance does all of it; handing over to itself is no help.
    if (this.#pool.up('decode').length === 0) return 'no-decode-up';
    if (this.#pool.up('prefill').length === 0 && this.#failedPrefill.length === 0) {
      return 'no-prefill-up';
    }
    if (this.#littleToCompute()) return 'little-to-compute';
    const exhausted =
      this.#attemptCount >= attemptCountMax / 2 || this.#untried('prefill').length === 0;
    return exhausted ? 'prefill-failed' : null;
  }

  #littleToCompute(): boolean {
    const { request, skipPrefillBelowTokens } = this.#options;
    if (skipPrefillBelowTokens === 0) return false;
    const held = this.#pool.longestHit('decode', request);
    return request.promptTokenCount - held < skipPrefillBelowTokens;
  }

  #untriedPair(nowMs: number): Step | null {
    const decode = this.#untried('decode');
    if (this.#state === 'pair') {
      const prefill = this.#untried('prefill');
      if (decode.length === 0 || prefill.length === 0) return null;
      return this.#attempt(prefill, decode, nowMs);
    }
    if (decode.length > 0) return this.#attempt(none, decode, nowMs);
    // The other kind can do the whole work too; it is only not what it is there for.
    const prefill = this.#untried('prefill');
    return prefill.length === 0 ? null : this.#attempt(none, prefill, nowMs);
  }

  #nextRound(nowMs: number): Step {
    if (!this.#anybodyUp()) {
      this.#nobodyUpUntilMs ??= nowMs + this.#options.nobodyUpWaitMs;
      const waits =
        this.#state === 'streaming'
          ? nowMs < this.#retryUntilMs
          : nowMs < this.#nobodyUpUntilMs && this.#anybodyMayReturn();
      if (waits) return { kind: 'wait', delayMs: nobodyUpPauseMs };
      return { kind: 'give-up', why: 'none-up' };
    }
    if (this.#refused || nowMs >= this.#retryUntilMs || this.#roundCount >= roundCountMax) {
      return { kind: 'give-up', why: 'all-failed' };
    }
    this.#failedBefore = [...this.#failedBefore, ...this.#failedPrefill, ...this.#failedDecode];
    this.#failedPrefill = none;
    this.#failedDecode = none;
    this.#roundCount += 1;
    return { kind: 'wait', delayMs: firstPauseMs * 2 ** (this.#roundCount - 2) };
  }

  /** A prefill leg need not be tried again; decode alone costs no more than the request itself. */
  #spent(): void {
    const alone = this.#state === 'pair' && this.#failedDecode.length === 0 && this.#anybodyAlone();
    if (!alone) this.#budgetSpent = true;
    else {
      this.#skipReason = 'prefill-failed';
      this.#enterDecode();
    }
  }

  #enterDecode(): void {
    this.#state = 'decode';
    this.#failedPrefill = none;
    this.#failedDecode = none;
  }

  #attempt(prefill: readonly PoolInstance[], decode: readonly PoolInstance[], nowMs: number): Step {
    return { kind: 'attempt', ...this.#assigned(prefill, decode, nowMs) };
  }

  #assigned(
    prefill: readonly PoolInstance[],
    decode: readonly PoolInstance[],
    nowMs: number,
  ): AttemptPair {
    this.#attemptCount += 1;
    const { request } = this.#options;
    const kept = this.#keptDecode;
    this.#keptDecode = null;
    const candidates = kept !== null && decode.includes(kept) ? [kept] : decode;
    if (prefill.length === 0) {
      const work = this.#prefilled ? 'decode' : 'whole';
      return { prefill: null, decode: this.#pool.assign(work, candidates, request, nowMs) };
    }
    const first = this.#pool.assign('prefill', prefill, request, nowMs);
    const fitting = candidates.every((one) => speakTheSame(first.instance, one))
      ? candidates
      : candidates.filter((one) => speakTheSame(first.instance, one));
    return {
      prefill: first,
      decode: this.#pool.assign(
        'decode',
        fitting.length > 0 ? fitting : candidates,
        request,
        nowMs,
      ),
    };
  }

  #untried(kind: Leg): readonly PoolInstance[] {
    const up = this.#pool.up(kind);
    if (
      this.#state !== 'streaming' &&
      this.#failedPrefill.length === 0 &&
      this.#failedDecode.length === 0 &&
      (this.#state === 'pair' || up.every(servesAlone))
    ) {
      return up;
    }
    const failed =
      kind === 'prefill' && this.#state === 'pair' ? this.#failedPrefill : this.#failedDecode;
    return up.filter((one) => !failed.includes(one) && this.#mayContinue(one));
  }

  #anybodyAlone(): boolean {
    return this.#pool.up('decode').some(servesAlone) || this.#pool.up('prefill').some(servesAlone);
  }

  #anybodyMayReturn(): boolean {
    return this.#pool.instances.some(({ state }) => state.name !== 'mismatch');
  }

  #anybodyUp(): boolean {
    if (this.#state === 'pair' && !this.#anybodyAlone()) {
      return this.#pool.up('prefill').length > 0 && this.#pool.up('decode').length > 0;
    }
    return [...this.#pool.up('decode'), ...this.#pool.up('prefill')].some((one) =>
      this.#mayContinue(one),
    );
  }

  /**
   * Some engines can do nothing without a partner; and only the very same weights continue a stream
   * with the tokens that it would have had.
   */
  #mayContinue(one: PoolInstance): boolean {
    if (this.#state === 'pair') return true;
    if (!servesAlone(one) && this.#options.hasLegs) return false;
    if (this.#state !== 'streaming') return true;
    const { identity } = one;
    if (this.#continuation === 'same-model') return identity?.ours === false;
    return identity?.ours === true && identity.fingerprint === this.#fingerprint;
  }
}
