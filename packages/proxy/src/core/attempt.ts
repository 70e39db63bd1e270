import { assert, type Clock } from '@tsukimi/base';
import type { Assignment } from './instance-load.ts';
import type { InstancePool } from './instance-pool.ts';
import type { AttemptOutcome, FailureReason, PoolInstance } from './pool-instance.ts';

export type Leg = 'prefill' | 'decode';

/**
 * Where a try is. Each stage but the last has a deadline. `releasing`: nobody waits for the answer any
 * more, and the decode leg goes on only until the prefill instance is sure to let go.
 */
export type Stage =
  | 'prefill'
  | 'handover'
  | 'decode_first_byte'
  | 'streaming'
  | 'releasing'
  | 'done';

/** What of a protocol decides the life of a try; see `PdProtocol`. */
export interface AttemptTerms {
  readonly order: 'prefill-first' | 'together';
  readonly handover: 'shared' | 'single-use';
  readonly release: 'nothing' | 'deliver-then-abort' | 'abort-both';
}

/** Where the two legs go; null: without that leg, because it is done or not needed. */
export interface AttemptPair {
  readonly prefill: Assignment<PoolInstance> | null;
  readonly decode: Assignment<PoolInstance>;
}

/**
 * `answered`: by the decode instance, to the end. `refused`: an instance finds the request itself wrong,
 * which others would repeat. `failed`: somebody else may do better. `left`: nobody wanted the answer.
 */
export type Outcome = 'answered' | 'refused' | 'failed' | 'left';

export interface Failure {
  readonly leg: Leg;
  readonly reason: FailureReason;
  readonly message: string;
}

/** What a try has done by its shell. Always the last thing that a method of `Attempt` does with a leg. */
export interface AttemptPort {
  send(leg: Leg): void;
  /** Closes a leg that was sent and has not ended, by which its instance learns that it may stop. */
  close(leg: Leg): void;
  /** Find out whether decode can find all that prefill left, then call `handoverReady`. */
  awaitHandover(): void;
  /** A stage has begun, whose deadline is `expired`'s. */
  entered(stage: Stage): void;
  /** Nothing more comes of it; both legs are released. Called once. */
  over(outcome: Outcome): void;
}

type LegState = 'unsent' | 'sent' | 'released';

/**
 * One try of a request: a prefill and a decode leg and what they owe each other. Has a place at both
 * instances from its beginning, gives each back exactly once, and charges only the leg that failed. What
 * a single-use hand-over leaves at the prefill instance is taken by the decode leg, or counted as
 * stranded there.
 */
export class Attempt {
  readonly prefill: Assignment<PoolInstance> | null;
  readonly decode: Assignment<PoolInstance>;
  readonly #clock: Clock;
  readonly #pool: InstancePool;
  readonly #terms: AttemptTerms;
  readonly #port: AttemptPort;
  #stage: Stage = 'prefill';
  #prefillState: LegState;
  #decodeState: LegState = 'unsent';
  #kv: 'none' | 'held' | 'taken' | 'stranded' = 'none';
  #outcome: Outcome | null = null;
  #failure: Failure | null = null;

  /** The places in `pair` are the attempt's from now on. */
  constructor(
    clock: Clock,
    pool: InstancePool,
    pair: AttemptPair,
    terms: AttemptTerms,
    port: AttemptPort,
  ) {
    this.#clock = clock;
    this.#pool = pool;
    this.#terms = terms;
    this.#port = port;
    this.prefill = pair.prefill;
    this.decode = pair.decode;
    this.#prefillState = pair.prefill === null ? 'released' : 'unsent';
  }

  get stage(): Stage {
    return this.#stage;
  }

  /** Null while it goes on. */
  get outcome(): Outcome | null {
    return this.#outcome;
  }

  /** What made it fail; null unless it did. */
  get failure(): Failure | null {
    return this.#failure;
  }

  /** The prefill instance keeps KVCache for a request that is gone, until its own timer ends that. */
  get stranded(): boolean {
    return this.#kv === 'stranded';
  }

  begin(): void {
    if (this.#prefillState === 'released') {
      this.#sendDecode();
      return;
    }
    this.#enter('prefill');
    const together = this.#terms.order === 'together';
    if (together && this.#terms.release === 'deliver-then-abort') this.#kv = 'held';
    this.#prefillState = 'sent';
    this.#port.send('prefill');
    if (!together || this.#outcome !== null) return;
    this.#decodeState = 'sent';
    this.#port.send('decode');
  }

  /**
   * The prefill leg was answered well. `holds`: its instance keeps something for this decode instance
   * alone. `waits`: what decode fetches may come a little later than the answer.
   */
  prefillAnswered(holds: boolean, waits: boolean): void {
    if (this.#prefillState !== 'sent') return;
    this.prefill?.promptDone(this.#clock.monotonicMs());
    this.#release('prefill', 'answered');
    if (this.#terms.order === 'together') {
      if (this.#stage !== 'prefill') return;
      if (holds) this.#enter('decode_first_byte');
      else this.#handsNothingOver();
      return;
    }
    if (holds && this.#terms.release === 'deliver-then-abort') this.#kv = 'held';
    if (!waits) this.#sendDecode();
    else {
      this.#enter('handover');
      this.#port.awaitHandover();
    }
  }

  /** What decode fetches is there, or has been waited for long enough. */
  handoverReady(): void {
    if (this.#stage === 'handover') this.#sendDecode();
  }

  /** Bytes of the decode leg's body came, of a good answer. */
  decodeBytes(): void {
    if (this.#stage === 'streaming' || this.#decodeState !== 'sent') return;
    if (this.#kv === 'held') this.#kv = 'taken';
    this.decode.promptDone(this.#clock.monotonicMs());
    if (this.#stage === 'releasing') this.#end('left');
    else this.#enter('streaming');
  }

  /** The decode leg came to its proper end. `outputTokenCount` is what it streamed; 0 when not known. */
  decodeAnswered(outputTokenCount = 0): void {
    if (this.#decodeState !== 'sent') return;
    if (this.#kv === 'held') this.#kv = 'taken';
    this.#release('decode', 'answered', 'ended', outputTokenCount);
    this.#end(this.#stage === 'releasing' ? 'left' : 'answered');
  }

  /** The leg's instance says that the request is wrong. Nobody is charged. */
  refused(leg: Leg): void {
    if (this.#stateOf(leg) !== 'sent') return;
    this.#release(leg, 'answered');
    if (leg === 'prefill' && this.#goesOnWithoutPrefill()) return;
    this.#end(this.#stage === 'releasing' ? 'left' : 'refused');
  }

  /** The leg broke by itself, or gave what cannot be used. */
  failed(leg: Leg, reason: FailureReason, message: string): void {
    if (this.#stateOf(leg) !== 'sent') return;
    const failure = { leg, reason, message };
    this.#release(leg, failure);
    if (leg === 'prefill' && this.#goesOnWithoutPrefill()) return;
    if (this.#stage === 'releasing') {
      this.#end('left');
      return;
    }
    this.#failure = failure;
    this.#end('failed');
  }

  /** The stage took too long. */
  expired(message: string): void {
    if (this.#outcome !== null) return;
    if (this.#stage === 'handover') this.handoverReady();
    else if (this.#stage === 'releasing') this.#end('left');
    else {
      const leg = this.#stage === 'prefill' ? 'prefill' : 'decode';
      const failure: Failure = { leg, reason: 'timeout', message };
      this.#failure = failure;
      if (leg === 'prefill') this.#kv = 'none';
      this.#release(leg, failure, 'close');
      this.#end('failed');
    }
  }

  /** Nobody wants the answer: the client is gone, or has it from another try. */
  leave(): void {
    if (this.#outcome !== null || this.#stage === 'releasing') return;
    if (this.#kv !== 'held') {
      this.#end('left');
      return;
    }
    this.#enter('releasing');
    if (this.#decodeState === 'unsent') {
      this.#decodeState = 'sent';
      this.#port.send('decode');
    }
  }

  checkInvariants(): void {
    const over = this.#outcome !== null;
    assert(over === (this.#stage === 'done'), 'a try that is over is in no other stage');
    assert(
      !over || (this.#prefillState === 'released' && this.#decodeState === 'released'),
      'a try that is over holds no leg',
    );
    assert(!over || this.#kv !== 'held', 'what prefill kept was taken or is counted as stranded');
    assert(over || this.#decodeState !== 'released', 'a try ends with its decode leg');
    assert(
      (this.#outcome === 'failed') === (this.#failure !== null),
      'a failed try knows what failed',
    );
  }

  /** A prefill leg that broke keeps nothing. Once decode has begun to answer, that matters no more. */
  #goesOnWithoutPrefill(): boolean {
    if (this.#kv === 'held') this.#kv = 'none';
    return this.#stage === 'streaming';
  }

  /** The decode leg waits in vain. */
  #handsNothingOver(): void {
    this.#kv = 'none';
    const message = 'handed nothing over';
    this.#failure = { leg: 'prefill', reason: 'refused', message };
    this.#end('failed');
  }

  #stateOf(leg: Leg): LegState {
    return leg === 'prefill' ? this.#prefillState : this.#decodeState;
  }

  #enter(stage: Stage): void {
    this.#stage = stage;
    this.#port.entered(stage);
  }

  #sendDecode(): void {
    this.#enter('decode_first_byte');
    this.#decodeState = 'sent';
    this.#port.send('decode');
  }

  /** `close`: it has not ended by itself. */
  #release(
    leg: Leg,
    outcome: AttemptOutcome,
    close: 'close' | 'ended' = 'ended',
    outputTokenCount = 0,
  ): void {
    const state = this.#stateOf(leg);
    if (state === 'released') return;
    const assignment = leg === 'prefill' ? this.prefill : this.decode;
    assert(assignment !== null, 'a leg that is held has a place');
    if (leg === 'prefill') this.#prefillState = 'released';
    else this.#decodeState = 'released';
    this.#pool.release(assignment, outcome, this.#clock.monotonicMs(), outputTokenCount);
    if (close === 'close' && state === 'sent') this.#port.close(leg);
  }

  #end(outcome: Outcome): void {
    this.#release('decode', 'abandoned', 'close');
    this.#release('prefill', 'abandoned', 'close');
    if (this.#kv === 'held') this.#kv = 'stranded';
    this.#outcome = outcome;
    this.#enter('done');
    this.#port.over(outcome);
  }
}
