import { assert } from '@tsukimi/base';
import type { Candidate, RequestFacts, Work } from './policies/policy.ts';
import type { AttemptOutcome } from './pool-instance.ts';
import { SpeedEstimate } from './speed-estimate.ts';

/** Of all instances together. Before anything was measured there is a prior, which a few observations outweigh. */
export class PoolSpeeds {
  readonly prefill = new SpeedEstimate({ msPerToken: 1 / 4 }, 512);
  readonly decode = new SpeedEstimate({ msPerToken: 20 }, 16);
  readonly transfer = new SpeedEstimate({ msPerToken: 1 / 50 }, 4_096);
}

/**
 * Tokens that an instance must have done until what was measured there outweighs what all together
 * did: an instance is not taken for slow because it was asked little, nor by a few hard prompts.
 */
const ownWorth = { prefill: 131_072, decode: 256, transfer: 16_384 } as const;

/** What an instance has to do, and how fast it has done it of late. */
export class InstanceLoad implements Candidate {
  readonly order: number;
  readonly addressHash: number;
  activeRequestCount = 0;
  queuedTokenCount = 0;
  residentTokenCount = 0;
  elsewhereTokenCount = 0;
  lastTurn = 0;
  readonly #speeds: PoolSpeeds;
  readonly #prefill: SpeedEstimate;
  readonly #decode: SpeedEstimate;
  readonly #transfer: SpeedEstimate;
  /** Attempts whose prompt is still to be computed there. */
  #queuedCount = 0;
  /** Since when it computes prompts without a pause, or since the last one that was done. */
  #busySinceMs = 0;

  constructor(order: number, addressHash: number, speeds: PoolSpeeds) {
    this.order = order;
    this.addressHash = addressHash;
    this.#speeds = speeds;
    this.#prefill = new SpeedEstimate(speeds.prefill, ownWorth.prefill);
    this.#decode = new SpeedEstimate(speeds.decode, ownWorth.decode);
    this.#transfer = new SpeedEstimate(speeds.transfer, ownWorth.transfer);
  }

  get prefillTokensPerSecond(): number {
    return 1_000 / this.#prefill.msPerToken;
  }

  get decodeMsPerToken(): number {
    return this.#decode.msPerToken;
  }

  get transferTokensPerSecond(): number {
    return 1_000 / this.#transfer.msPerToken;
  }

  /** What was measured of another engine at this address says nothing about this one. */
  forgetSpeeds(): void {
    this.#prefill.forget();
    this.#decode.forget();
    this.#transfer.forget();
  }

  began(queuedTokenCount: number, residentTokenCount: number, nowMs: number): void {
    this.activeRequestCount += 1;
    this.residentTokenCount += residentTokenCount;
    if (queuedTokenCount === 0) return;
    if (this.#queuedCount === 0) this.#busySinceMs = nowMs;
    this.#queuedCount += 1;
    this.queuedTokenCount += queuedTokenCount;
  }

  /**
   * Nothing of this prompt is ahead any more. `computedTokenCount` of it were computed; 0 for one
   * that was given up.
   */
  promptDone(queuedTokenCount: number, computedTokenCount: number, nowMs: number): void {
    if (queuedTokenCount === 0) return;
    this.#queuedCount -= 1;
    this.queuedTokenCount -= queuedTokenCount;
    if (computedTokenCount === 0) return;
    // Between two that are done the whole time went into the later one, however long that waited.
    const elapsedMs = nowMs - this.#busySinceMs;
    this.#prefill.observe(elapsedMs, computedTokenCount, nowMs);
    this.#speeds.prefill.observe(elapsedMs, computedTokenCount, nowMs);
    this.#busySinceMs = nowMs;
  }

  loaded(elapsedMs: number, tokenCount: number, nowMs: number): void {
    this.#transfer.observe(elapsedMs, tokenCount, nowMs);
    this.#speeds.transfer.observe(elapsedMs, tokenCount, nowMs);
  }

  decoded(elapsedMs: number, tokenCount: number, nowMs: number): void {
    this.#decode.observe(elapsedMs, tokenCount, nowMs);
    this.#speeds.decode.observe(elapsedMs, tokenCount, nowMs);
  }

  ended(residentTokenCount: number): void {
    this.activeRequestCount -= 1;
    this.residentTokenCount -= residentTokenCount;
  }

  checkInvariants(): void {
    assert(this.activeRequestCount >= 0, 'no load is negative');
    assert(
      this.activeRequestCount > 0 ||
        (this.residentTokenCount === 0 && this.queuedTokenCount === 0 && this.#queuedCount === 0),
      'without a request there are no tokens in progress',
    );
    assert(this.queuedTokenCount >= 0 && this.residentTokenCount >= 0, 'no load is negative');
    for (const speed of [
      this.prefillTokensPerSecond,
      this.decodeMsPerToken,
      this.transferTokensPerSecond,
    ]) {
      assert(speed > 0 && Number.isFinite(speed), 'a speed is a number above 0');
    }
  }
}

/**
 * What one attempt adds to the load of its instance, from the moment that it is decided, before
 * anything is sent: what is counted only when headers come sends a burst to one instance.
 */
export class Assignment<I> {
  readonly instance: I;
  readonly work: Work;
  readonly reason: string;
  /** Leading prompt tokens that the policy took to be cached there. */
  readonly hitTokenCount: number;
  /** How many could have been chosen. */
  readonly candidateCount: number;
  /** Prompt tokens that were to be computed there before those of this attempt. */
  readonly aheadTokenCount: number;
  /** Until its own prompt is computed there, as things were; 0 where it need not be. */
  readonly predictedPromptMs: number;
  /** Null while it goes on. */
  outcome: AttemptOutcome | null = null;
  readonly #load: InstanceLoad;
  readonly #queuedTokenCount: number;
  readonly #residentTokenCount: number;
  /** What a decode leg has to load. */
  readonly #loadedTokenCount: number;
  readonly #sentMs: number;
  #promptDoneMs: number | null = null;
  #ended = false;

  constructor(
    instance: I & InstanceLoad,
    work: Work,
    request: RequestFacts,
    choice: { readonly reason: string; readonly hitTokenCount: number },
    candidateCount: number,
    nowMs: number,
  ) {
    this.instance = instance;
    this.#load = instance;
    this.work = work;
    this.reason = choice.reason;
    this.hitTokenCount = Math.min(choice.hitTokenCount, request.promptTokenCount);
    // The last token is always computed, whatever is cached: its logits are needed.
    this.#queuedTokenCount =
      work === 'decode' ? 0 : Math.max(1, request.promptTokenCount - this.hitTokenCount);
    this.#residentTokenCount =
      work === 'prefill' ? 0 : request.promptTokenCount + request.outputTokenCount;
    this.candidateCount = candidateCount;
    this.aheadTokenCount = instance.queuedTokenCount;
    this.predictedPromptMs =
      work === 'decode'
        ? 0
        : ((this.aheadTokenCount + this.#queuedTokenCount) / instance.prefillTokensPerSecond) *
          1_000;
    this.#loadedTokenCount = work === 'decode' ? request.promptTokenCount - this.hitTokenCount : 0;
    this.#sentMs = nowMs;
    instance.began(this.#queuedTokenCount, this.#residentTokenCount, nowMs);
  }

  /** The prefill leg was answered, or the first piece of a decode leg came. Harmless when repeated. */
  promptDone(nowMs: number): void {
    if (this.#promptDoneMs !== null || this.#ended) return;
    this.#promptDoneMs = nowMs;
    this.#load.promptDone(this.#queuedTokenCount, this.#queuedTokenCount, nowMs);
    this.#load.loaded(nowMs - this.#sentMs, this.#loadedTokenCount, nowMs);
  }

  /** However it ended. `outputTokenCount` is what came of a stream; 0 when not known. Harmless when repeated. */
  ended(nowMs: number, outputTokenCount: number): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#promptDoneMs === null) {
      this.#load.promptDone(this.#queuedTokenCount, 0, nowMs);
    } else if (this.work !== 'prefill' && outputTokenCount > 1) {
      this.#load.decoded(nowMs - this.#promptDoneMs, outputTokenCount - 1, nowMs);
    }
    this.#load.ended(this.#residentTokenCount);
  }
}
