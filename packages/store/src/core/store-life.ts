import { assert, type Logger, type Random } from '@tsukimi/base';

/** Where a store client stands with the master. */
export type LifeState =
  | { readonly kind: 'new' }
  /** No word from the master yet, or none any more. */
  | { readonly kind: 'calling'; readonly delayMs: number; readonly reason: string }
  /** The master answers, but does not take the segment. */
  | { readonly kind: 'refused'; readonly delayMs: number; readonly reason: string }
  | { readonly kind: 'mounting' }
  /** `remounted`: the master has just taken the segment again, so it must know it now. */
  | { readonly kind: 'checking'; readonly remounted: boolean }
  | { readonly kind: 'remounting' }
  | { readonly kind: 'serving' }
  | { readonly kind: 'leaving' }
  | { readonly kind: 'left' };

/** What the shell does next. A step belongs to the state it was asked in; see `settle`. */
export interface LifeStep {
  readonly act: 'greet' | 'mount' | 'remount' | 'ping' | 'unmount' | 'end';
  /** Waited before the act. */
  readonly delayMs: number;
  readonly revision: number;
}

export type LifeOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'need-remount' }
  /** The master answered with an error: it is there. */
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'unreachable'; readonly reason: string };

export interface StoreLifeOptions {
  readonly hasSegment: boolean;
  readonly pingPeriodMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  readonly random: Random;
  readonly logger: Logger;
}

/**
 * Decides what a store client owes the master next: greet, mount, heartbeat, mount again after a
 * restart, unmount. Synchronous and without time of its own; a shell performs the steps.
 *
 * A client with a segment is mounted once, found unknown by its first ping, and re-mounted, as the
 * protocol wants it. One without a segment is unknown to the master and only greets.
 */
export class StoreLife {
  readonly #options: StoreLifeOptions;
  #state: LifeState = { kind: 'new' };
  #revision = 0;
  #failureCount = 0;
  #hasSegment: boolean;
  /** Whether MountSegment ever succeeded: from then on a master that forgot asks for a re-mount. */
  #mounted = false;

  constructor(options: StoreLifeOptions) {
    this.#options = options;
    this.#hasSegment = options.hasSegment;
  }

  get state(): LifeState {
    return this.#state;
  }

  /** Whether calls may be tried: the last word from the master was an answer. */
  get reachable(): boolean {
    switch (this.#state.kind) {
      case 'refused':
      case 'mounting':
      case 'checking':
      case 'remounting':
      case 'serving':
        return true;
      case 'new':
      case 'calling':
      case 'leaving':
      case 'left':
        return false;
    }
  }

  start(): void {
    assert(this.#state.kind === 'new', 'a store client starts once');
    this.#become({ kind: 'calling', delayMs: 0, reason: 'not tried yet' });
  }

  /** Harmless when repeated. */
  stop(): void {
    if (this.#state.kind === 'leaving' || this.#state.kind === 'left') return;
    const owes = this.#mounted && this.reachable;
    this.#become({ kind: owes ? 'leaving' : 'left' });
  }

  /**
   * The client lends memory from now on, which it has mounted by itself, or has taken back the last of it.
   * Whether that changes what comes next.
   */
  lending(hasSegment: boolean): boolean {
    if (hasSegment === this.#hasSegment) return false;
    this.#hasSegment = hasSegment;
    if (!hasSegment) this.#mounted = false;
    if (this.#state.kind !== 'serving') return false;
    this.#mounted = hasSegment;
    // The master expects life signs of a client that lends, and a re-mount after the first.
    this.#become(hasSegment ? { kind: 'checking', remounted: false } : { kind: 'serving' });
    return true;
  }

  /** An operation found the master gone before the next ping would have. */
  lostContact(reason: string): void {
    if (this.reachable) this.#fail({ kind: 'unreachable', reason });
  }

  next(): LifeStep {
    const step = (act: LifeStep['act'], delayMs = 0) => ({
      act,
      delayMs,
      revision: this.#revision,
    });
    switch (this.#state.kind) {
      case 'new':
      case 'left':
        return step('end');
      case 'calling':
      case 'refused':
        return step('greet', this.#state.delayMs);
      case 'mounting':
        return step('mount');
      case 'checking':
        return step('ping');
      case 'remounting':
        return step('remount');
      case 'serving':
        return step(this.#hasSegment ? 'ping' : 'greet', this.#options.pingPeriodMs);
      case 'leaving':
        return step('unmount');
    }
  }

  /** Whether the state a step was asked in still stands. */
  isCurrent(step: LifeStep): boolean {
    return step.revision === this.#revision;
  }

  /** Takes the outcome of a step. An outcome that comes too late changes nothing. */
  settle(step: LifeStep, outcome: LifeOutcome): void {
    if (!this.isCurrent(step)) return;
    if (this.#state.kind === 'leaving') return this.#become({ kind: 'left' });
    if (outcome.kind === 'unreachable' || outcome.kind === 'refused') return this.#fail(outcome);
    switch (step.act) {
      case 'greet':
        if (!this.#hasSegment) return this.#serve();
        return this.#become(
          this.#mounted ? { kind: 'checking', remounted: false } : { kind: 'mounting' },
        );
      case 'mount':
        this.#mounted = true;
        return this.#become({ kind: 'checking', remounted: false });
      case 'remount':
        return this.#become({ kind: 'checking', remounted: true });
      case 'ping':
        if (outcome.kind === 'done') return this.#serve();
        if (this.#state.kind === 'checking' && this.#state.remounted) {
          const reason = 'the master asks for the segment again right after it took it';
          return this.#fail({ kind: 'refused', reason });
        }
        return this.#become({ kind: 'remounting' });
      case 'unmount':
      case 'end':
        assert(false, `${step.act} is no step of state ${this.#state.kind}`);
    }
  }

  checkInvariants(): void {
    assert(
      this.#state.kind !== 'serving' || this.#failureCount === 0,
      'a serving client has no failures to count',
    );
    assert(
      this.#state.kind !== 'serving' || this.#mounted === this.#hasSegment,
      'a serving client has mounted what it has',
    );
    assert(this.#state.kind !== 'leaving' || this.#mounted, 'only what is mounted is unmounted');
  }

  #serve(): void {
    this.#failureCount = 0;
    if (this.#state.kind !== 'serving') this.#become({ kind: 'serving' });
  }

  #fail(outcome: { readonly kind: 'unreachable' | 'refused'; readonly reason: string }): void {
    this.#failureCount += 1;
    this.#become({
      kind: outcome.kind === 'refused' ? 'refused' : 'calling',
      delayMs: this.#backoffMs(),
      reason: outcome.reason,
    });
  }

  /** Doubles with each failure; the jitter keeps clients of one dead master from coming back at once. */
  #backoffMs(): number {
    const { backoffMinMs, backoffMaxMs, random } = this.#options;
    const fullMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(30, this.#failureCount - 1));
    return fullMs * (0.5 + random.uint32() / 2 ** 33);
  }

  #become(state: LifeState): void {
    const before = this.#state;
    this.#state = state;
    this.#revision += 1;
    // A master that stays away is told once, not at every attempt.
    if (before.kind === state.kind) return;
    const { logger } = this.#options;
    if (state.kind === 'calling' && before.kind !== 'new') {
      logger.warn('store.master_lost', { reason: state.reason });
    } else if (state.kind === 'refused') {
      logger.warn('store.refused', { reason: state.reason });
    } else {
      logger.info('store.state', { from: before.kind, to: state.kind });
    }
  }
}
