import { assert } from '@tsukimi/base';
import type { Assignment } from './instance-load.ts';
import type { InstancePool } from './instance-pool.ts';
import type { RequestFacts } from './policies/policy.ts';
import type { AttemptOutcome, FailureReason, PoolInstance } from './pool-instance.ts';

export type Leg = 'prefill' | 'decode';

export type Step =
  /** Send this leg there, then tell how it ended. */
  | { readonly kind: 'attempt'; readonly leg: Leg; readonly instance: PoolInstance }
  /** Everything was tried; ask again after this long. */
  | { readonly kind: 'wait'; readonly delayMs: number }
  | { readonly kind: 'give-up'; readonly why: 'none-up' | 'all-failed' | 'cannot-resume' };

export type SkipReason = 'no-prefill-up' | 'no-decode-up' | 'prefill-failed';

export interface RequestPlanOptions {
  readonly request: RequestFacts;
  /** Instances that were tried already are tried again until then, on the monotonic clock. */
  readonly retryUntilMs: number;
  /** A stream that broke looks for somebody to continue it for at least this long. */
  readonly resumeWithinMs: number;
  /** A request that finds nobody up waits this long: an instance may be back that was not probed since. */
  readonly nobodyUpWaitMs: number;
}

/** Over the whole life of a request, so that one that kills its instances cannot kill them all. */
const attemptCountMax = 24;
/** How often all instances are gone through without progress. */
const roundCountMax = 4;
const firstPauseMs = 100;
const nobodyUpPauseMs = 250;

/**
 * Where one request goes next: tries of the prefill leg, tries of the decode leg, a stream, and its
 * continuation elsewhere. One attempt at a time; every `attempt` step is answered by exactly one of
 * `prefillDone`, `decodeDone`, `failed` and `end`.
 */
export class RequestPlan {
  readonly #pool: InstancePool;
  readonly #options: RequestPlanOptions;
  #state: 'prefill' | 'decode' | 'streaming' | 'ended' = 'prefill';
  #current: Assignment<PoolInstance> | null = null;
  /** Since the last progress, in this leg and round. */
  #tried: PoolInstance[] = [];
  #attemptCount = 0;
  #roundCount = 1;
  #retryUntilMs: number;
  /** Set once nobody was up. */
  #nobodyUpUntilMs: number | null = null;
  /** Whose weights made the stream that the client has the beginning of; null if nobody can continue it. */
  #continuation: { readonly fingerprint: string | null } | null = null;
  /** Whose pieces are coming, once the first has come. */
  #streamedFrom: PoolInstance | null = null;
  #skipReason: SkipReason | null = null;
  /** The prefill leg has left the prompt's KV for a decode leg. */
  #prefilled = false;

  constructor(pool: InstancePool, options: RequestPlanOptions) {
    this.#pool = pool;
    this.#options = options;
    this.#retryUntilMs = options.retryUntilMs;
  }

  /** Why no prefill instance took part; null when one did, or still may. */
  get skipReason(): SkipReason | null {
    return this.#skipReason;
  }

  get streaming(): boolean {
    return this.#state === 'streaming';
  }

  next(nowMs: number): Step {
    assert(this.#current === null, 'one attempt at a time');
    assert(this.#state !== 'ended', 'an ended request goes nowhere');
    if (this.#state === 'prefill') {
      const skip = this.#skipPrefill();
      if (skip === null) return this.#attempt('prefill', this.#untried('prefill'), nowMs);
      this.#skipReason = skip;
      this.#enterDecode();
    }
    if (this.#state === 'streaming' && this.#continuation === null) {
      return { kind: 'give-up', why: 'cannot-resume' };
    }
    if (this.#attemptCount >= attemptCountMax) return { kind: 'give-up', why: 'all-failed' };
    const decode = this.#untried('decode');
    if (decode.length > 0) return this.#attempt('decode', decode, nowMs);
    // The other kind can do the whole work too; it is only not what it is there for.
    const prefill = this.#untried('prefill');
    if (prefill.length > 0) return this.#attempt('decode', prefill, nowMs);
    if (!this.#anybodyUp()) {
      this.#nobodyUpUntilMs ??= nowMs + this.#options.nobodyUpWaitMs;
      const waits =
        this.#state === 'streaming'
          ? nowMs < this.#retryUntilMs
          : nowMs < this.#nobodyUpUntilMs && this.#anybodyMayReturn();
      if (waits) return { kind: 'wait', delayMs: nobodyUpPauseMs };
      return { kind: 'give-up', why: 'none-up' };
    }
    if (nowMs >= this.#retryUntilMs || this.#roundCount >= roundCountMax) {
      return { kind: 'give-up', why: 'all-failed' };
    }
    this.#tried = [];
    this.#roundCount += 1;
    return { kind: 'wait', delayMs: firstPauseMs * 2 ** (this.#roundCount - 2) };
  }

  /** The prefill leg was answered well. */
  prefillDone(nowMs: number): void {
    assert(this.#state === 'prefill' && this.#current !== null, 'only the prefill leg ends so');
    this.#current.promptDone(nowMs);
    this.#release('answered', nowMs, 0);
    this.#prefilled = true;
    this.#enterDecode();
  }

  /** The decode leg was answered to its end; see `end` for `outputTokenCount`. */
  decodeDone(nowMs: number, outputTokenCount: number): void {
    this.#release('answered', nowMs, outputTokenCount);
    this.#state = 'ended';
  }

  /** The attempt is over, and another instance may do better. */
  failed(reason: FailureReason, message: string, nowMs: number): void {
    assert(this.#current !== null, 'what fails is an attempt');
    this.#release({ reason, message }, nowMs, 0);
    if (this.#state === 'streaming') {
      this.#retryUntilMs = Math.max(this.#retryUntilMs, nowMs + this.#options.resumeWithinMs);
    }
  }

  /**
   * The client has got a piece of the stream. `resumable` says whether another instance of the same
   * make could continue it.
   */
  streamed(resumable: boolean, nowMs: number): void {
    assert(this.#current !== null && this.#state !== 'prefill', 'a decode leg streams');
    const { instance } = this.#current;
    // Called for every piece; only the first of an instance's changes anything.
    if (this.#streamedFrom === instance) return;
    this.#current.promptDone(nowMs);
    this.#state = 'streaming';
    if (!resumable) this.#continuation = null;
    else this.#continuation ??= { fingerprint: instance.identity?.fingerprint ?? null };
    this.#tried = [instance];
    this.#roundCount = 1;
    this.#streamedFrom = instance;
  }

  /**
   * Given up, or the client is gone. `outputTokenCount` is what came of the stream since it
   * began at this instance; 0 when not known. Harmless when repeated.
   */
  end(nowMs: number, outputTokenCount: number): void {
    if (this.#current !== null) this.#release('abandoned', nowMs, outputTokenCount);
    this.#state = 'ended';
  }

  checkInvariants(): void {
    assert(this.#state !== 'ended' || this.#current === null, 'an ended request holds nothing');
    assert(this.#attemptCount <= attemptCountMax, 'tries are bounded');
    assert(
      this.#current === null || this.#tried.includes(this.#current.instance),
      'an instance in use counts as tried',
    );
  }

  #skipPrefill(): SkipReason | null {
    // Without a decode instance a prefill instance does all of it; handing over to itself is no help.
    if (this.#pool.up('decode').length === 0) return 'no-decode-up';
    if (this.#pool.up('prefill').length === 0 && this.#tried.length === 0) return 'no-prefill-up';
    const exhausted =
      this.#attemptCount >= attemptCountMax / 2 || this.#untried('prefill').length === 0;
    return exhausted ? 'prefill-failed' : null;
  }

  #enterDecode(): void {
    this.#state = 'decode';
    this.#tried = [];
  }

  #attempt(leg: Leg, candidates: readonly PoolInstance[], nowMs: number): Step {
    const work = leg === 'decode' && !this.#prefilled ? 'whole' : leg;
    this.#current = this.#pool.assign(work, candidates, this.#options.request, nowMs);
    const { instance } = this.#current;
    this.#tried.push(instance);
    this.#attemptCount += 1;
    return { kind: 'attempt', leg, instance };
  }

  #release(outcome: AttemptOutcome, nowMs: number, outputTokenCount: number): void {
    assert(this.#current !== null, 'what is released is held');
    this.#pool.release(this.#current, outcome, nowMs, outputTokenCount);
    this.#current = null;
    this.#streamedFrom = null;
  }

  #untried(kind: Leg): readonly PoolInstance[] {
    const up = this.#pool.up(kind);
    if (this.#tried.length === 0 && this.#state !== 'streaming') return up;
    return up.filter((one) => !this.#tried.includes(one) && this.#mayContinue(one));
  }

  #anybodyMayReturn(): boolean {
    return this.#pool.instances.some(({ state }) => state.name !== 'mismatch');
  }

  #anybodyUp(): boolean {
    return [...this.#pool.up('decode'), ...this.#pool.up('prefill')].some((one) =>
      this.#mayContinue(one),
    );
  }

  /** Only the very same weights continue a stream with the tokens that it would have had. */
  #mayContinue(one: PoolInstance): boolean {
    if (this.#state !== 'streaming') return true;
    return (
      one.identity?.ours === true && one.identity.fingerprint === this.#continuation?.fingerprint
    );
  }
}
