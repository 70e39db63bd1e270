import { type Clock, Fault, type Logger, type Random, type Scheduled } from '@tsukimi/base';
import type { ServerRequest, ServerResponse } from '@tsukimi/http';
import { hasLegs } from './api-paths.ts';
import { type AttemptListener, AttemptRun } from './attempt-run.ts';
import type { AttemptPair, Failure, Outcome } from './core/attempt.ts';
import type { Holding } from './core/held-memory.ts';
import type { InstancePool } from './core/instance-pool.ts';
import { type Miss, missedObjective, type Objectives } from './core/objectives.ts';
import type { FailureReason, PoolInstance } from './core/pool-instance.ts';
import { type Continuation, type GiveUpReason, RequestPlan } from './core/request-plan.ts';
import type { RetryBudget } from './core/retry-budget.ts';
import type { Deadlines } from './deadlines.ts';
import { limits } from './deadlines.ts';
import { FrameRelay, type Relayed } from './frame-relay.ts';
import { type Headers, sendBytes, sendFault } from './http-answers.ts';
import type { JsonMembers } from './json-members.ts';
import type { WholeAnswer } from './leg-call.ts';
import type { GenerationProbe } from './membership/generation-probe.ts';
import type { ProxyMetrics } from './metrics.ts';
import { type Handover, type LegSource, Pair } from './protocols/protocol.ts';
import { protocolOf } from './protocols/protocols.ts';
import { type KnownFacts, requestFacts } from './request-facts.ts';
import { traitsOf } from './request-traits.ts';
import { streamForm } from './stream-form.ts';
import { ExchangeNotes, type NotesContext } from './telemetry/exchange-notes.ts';
import type { RequestRecord } from './telemetry/request-record.ts';
import { toldError } from './told-error.ts';
import type { Upstream } from './upstream.ts';
import type { StoreHandover } from './vllm-store/store-handover.ts';

export interface ExchangeContext extends NotesContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly pool: InstancePool;
  readonly upstream: Upstream;
  readonly metrics: ProxyMetrics;
  readonly generationProbe: GenerationProbe;
  readonly deadlines: Deadlines;
  readonly retryBudget: RetryBudget;
  /** A second try begins elsewhere when nothing came for this long; 0: never. */
  readonly hedgeMs: number;
  /** See `RequestPlanOptions`. */
  readonly skipPrefillBelowTokens: number;
  readonly objectives: Objectives;
  /** `Bearer …` towards instances when the client sent nothing of its own for them; null for none. */
  readonly authorization: string | null;
  /** Null where no master is known to ask. */
  readonly storeHandover: StoreHandover | null;
  /** The clients' `Authorization` is for the proxy, and no instance sees it. */
  readonly keepsAuthorization: boolean;
}

export interface ExchangeRequest {
  readonly path: string;
  /** Filled in as the request goes on. */
  readonly record: RequestRecord;
  readonly members: JsonMembers;
  /** The body is counted there already. */
  readonly holding: Holding;
  /** What its answer tells of the limits of the client's key. */
  readonly limitHeaders: Headers;
}

const noTokenIds: readonly number[] = [];

/**
 * One request of a client, from its body to the last byte of its answer: makes the tries that the plan
 * says, and one answer or one stream of what comes of them. Faults of instances end here.
 */
export class Exchange implements AttemptListener {
  readonly #context: ExchangeContext;
  readonly #response: ServerResponse;
  readonly #requestId: string;
  readonly #notes: ExchangeNotes;
  readonly #limitHeaders: Headers;
  readonly #source: LegSource;
  readonly #carriesClientKey: boolean;
  readonly #holding: Holding;
  readonly #facts: KnownFacts;
  readonly #plan: RequestPlan;
  readonly #relay: FrameRelay;
  readonly #firstByteMs: number;
  readonly #onOver: () => void;
  /** Tries in progress: one, two while hedging, and those that only let go of what they hold. */
  readonly #runs: AttemptRun[] = [];
  /** Whose stream the client gets. */
  #streaming: AttemptRun | null = null;
  /** Tokens that the client got from others before. */
  #tokenCountBefore = 0;
  #looking: Scheduled | null = null;
  #waiting: Scheduled | null = null;
  #hedging: Scheduled | null = null;
  /** Who answered the prefill leg well, and what can be used of it by any decode instance. */
  #prefill: PoolInstance | null = null;
  #handover: Handover | null = null;
  /** The last answer of an instance that says it failed: better than words of our own. */
  #failedAnswer: WholeAnswer | null = null;
  #lastFailure: Failure | null = null;
  #lastFailedAddress = '';
  /** The client has its answer, or is gone. */
  #settled = false;
  #over = false;

  /** `onOver` is called once, when nothing more will be done for this request. */
  constructor(
    context: ExchangeContext,
    incoming: ServerRequest,
    response: ServerResponse,
    request: ExchangeRequest,
    onOver: () => void,
  ) {
    this.#context = context;
    this.#response = response;
    const { record } = request;
    this.#notes = new ExchangeNotes(context, record);
    this.#requestId = record.requestId;
    this.#limitHeaders = request.limitHeaders;
    this.#holding = request.holding;
    this.#onOver = onOver;
    const traits = traitsOf(request.members, request.path);
    const credential = context.keepsAuthorization ? undefined : incoming.headers['authorization'];
    this.#carriesClientKey = credential !== undefined;
    this.#source = {
      path: request.path,
      body: request.members.bytes,
      members: request.members,
      traits,
      headers: upstreamHeaders(incoming, record.requestId, credential ?? context.authorization),
      outputTokenIds: noTokenIds,
      promptTokenIds: noTokenIds,
      asksPromptTokenIds: context.storeHandover !== null,
      asksChunkKeys: context.storeHandover !== null && context.pool.reads('store'),
    };
    const { deadlines, clock } = context;
    this.#notes.asked(traits);
    this.#firstByteMs =
      deadlines.firstByteMs + deadlines.firstBytePerTokenMs * traits.promptTokenCount;
    this.#facts = requestFacts(request.members, traits, incoming.headers, context.pool);
    this.#plan = new RequestPlan(context.pool, context.retryBudget, {
      request: this.#facts,
      retryUntilMs: clock.monotonicMs() + this.#firstByteMs,
      resumeWithinMs: deadlines.gapMs,
      nobodyUpWaitMs: deadlines.nobodyUpMs,
      skipPrefillBelowTokens: context.skipPrefillBelowTokens,
      hasLegs: hasLegs(request.path),
    });
    this.#relay = new FrameRelay({
      stripsTokenIds: !traits.wantsTokenIds,
      frameByteCountMax: limits.frameByteCountMax,
      form: streamForm(request.path),
    });
  }

  begin(): void {
    const { pool, storeHandover } = this.#context;
    if (storeHandover !== null && pool.reads('store')) {
      this.#looking = storeHandover.look(this.#facts.blockHashes, (blockCount) => {
        this.#facts.storedTokenCount = blockCount * this.#facts.blockTokenCount;
        this.#admit();
      });
    }
    if (this.#looking === null) this.#admit();
  }

  #admit(): void {
    const { pool, retryBudget, objectives } = this.#context;
    const missed = missedObjective(pool, this.#facts, objectives);
    if (missed !== null) {
      this.#refuse(missed);
      return;
    }
    retryBudget.requestBegan();
    this.#step();
  }

  /** The client is gone, or waited for too long: whatever runs for it is called off. */
  cancel(): void {
    this.#settle();
  }

  onPrefilled(run: AttemptRun, tookMs: number, kept: boolean): void {
    this.#notes.prefilled(run, tookMs);
    if (!kept) return;
    // Where there was nothing to hand over, decode need not know who did nothing.
    this.#prefill = run.handover === null ? null : (run.attempt.prefill?.instance ?? null);
    this.#handover = run.handover;
    this.#plan.handedOver();
  }

  onStream(run: AttemptRun, bytes: Buffer): void {
    if (this.#streaming !== run) this.#beginStream(run);
    let relayed: Relayed;
    try {
      relayed = this.#relay.push(bytes);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      run.streamBroke(reasonOf(error), error.message);
      return;
    }
    if (relayed.bytes !== null) this.#writeFrames(run, relayed.bytes);
    if (relayed.error !== null) {
      this.#streamFailed(run, relayed);
      return;
    }
    if (!relayed.ended) return;
    this.#response.end();
    run.streamEnded(this.#relay.tokenIds.length - this.#tokenCountBefore);
  }

  #streamFailed(run: AttemptRun, { bytes, error }: Relayed): void {
    if (error === null) return;
    if (!this.#relay.begun) {
      this.#streaming = null;
      run.streamRefused(error, `answered 200 with an error of ${error.status} inside`);
      return;
    }
    if (bytes !== null) this.#response.end();
    run.streamRefused(error, `reported a failure: ${error.message}`);
  }

  onClientStalled(): void {
    this.#response.destroy();
  }

  onUnheld(fault: Fault): void {
    this.#sendFault(fault);
    this.#settle();
  }

  onOver(run: AttemptRun, outcome: Outcome): void {
    this.#runs.splice(this.#runs.indexOf(run), 1);
    if (run.attempt.stranded) this.#context.metrics.count('kv_stranded_total');
    if (outcome === 'failed') this.#failed(run);
    else if (outcome !== 'left' && !this.#settled) {
      if (this.#streaming !== run && run.answer !== null) {
        this.#notes.answerBegins(run);
        this.#sendWhole(run.answer);
      } else if (run.answer !== null && outcome === 'refused') {
        const { message } = toldError(run.answer.body.toString());
        this.#breakStream(`the instance broke the stream off: ${message}`);
      }
      this.#notes.answered(run);
      this.#settle();
    }
    this.#endIfIdle();
  }

  #step(): void {
    if (this.#settled) return;
    const step = this.#plan.next(this.#context.clock.monotonicMs());
    switch (step.kind) {
      case 'attempt':
        this.#launch(step);
        break;
      case 'wait':
        this.#waiting = this.#context.clock.schedule(step.delayMs, () => this.#step());
        break;
      case 'give-up':
        this.#giveUp(step.why);
        break;
    }
  }

  #launch(legs: AttemptPair): void {
    const { metrics, logger, random, clock, hedgeMs } = this.#context;
    const continues = this.#plan.streaming;
    if (continues) {
      metrics.count('resumed_streams_total');
      logger.warn('proxy.stream_resumed', {
        request: this.#requestId,
        instance: legs.decode.instance.address,
        tokens: this.#relay.tokenIds.length,
      });
    }
    this.#notes.decided(legs);
    const pair = new Pair(legs.prefill?.instance ?? this.#prefill, legs.decode.instance, random);
    const run = new AttemptRun(
      this.#context,
      {
        pair,
        legs,
        protocol: protocolOf(pair),
        source: continues
          ? {
              ...this.#source,
              outputTokenIds: this.#relay.tokenIds,
              promptTokenIds: this.#relay.promptTokenIds,
            }
          : this.#source,
        blockHashes: this.#facts.blockHashes,
        holding: this.#holding,
        handover: legs.prefill === null ? this.#handover : null,
        firstByteMs: this.#firstByteMs,
        carriesClientKey: this.#carriesClientKey,
        continuesStream: continues,
        trace: this.#notes.trace(),
      },
      this,
    );
    this.#runs.push(run);
    if (hedgeMs > 0 && this.#hedging === null && !continues) {
      this.#hedging = clock.schedule(hedgeMs, () => this.#hedge());
    }
    run.begin();
  }

  /** The answer is late: somebody else may be faster. Once for each request. */
  #hedge(): void {
    const [running] = this.#runs;
    if (this.#settled || this.#streaming !== null || running === undefined) return;
    const legs = this.#plan.hedge(running.attempt, this.#context.clock.monotonicMs());
    if (legs === null) return;
    this.#context.metrics.count('hedges_total');
    this.#launch(legs);
  }

  /** The first bytes of a stream decide between tries; the others are let go. */
  #beginStream(run: AttemptRun): void {
    this.#streaming = run;
    const { identity } = run.attempt.decode.instance;
    const { resumable, resumableByIds } = this.#source.traits;
    this.#tokenCountBefore = this.#relay.tokenIds.length;
    if (identity?.ours === true) this.#relay.restart(resumable ? 'output' : 'none');
    else this.#relay.restart(resumableByIds ? 'all' : 'none');
    for (const other of [...this.#runs]) if (other !== run) other.attempt.leave();
  }

  #writeFrames(run: AttemptRun, frames: Buffer | string): void {
    const response = this.#response;
    if (!response.headersSent) {
      this.#notes.streamBegins(run);
      this.#notes.answerBegins(run);
      response.writeHead(200, {
        'content-type': run.decodeLeg?.contentType ?? '',
        'cache-control': 'no-cache',
        ...this.#ownHeaders(),
      });
    }
    this.#notes.wrote(frames);
    const decode = run.attempt.decode.instance;
    this.#plan.streamed(decode, this.#continuation(decode));
    const flows =
      typeof frames === 'string' ? response.write(frames, 'latin1') : response.write(frames);
    if (flows) return;
    run.pause();
    response.once('drain', () => run.resume());
  }

  #continuation({ identity }: PoolInstance): Continuation {
    if (identity?.ours !== true) {
      return this.#relay.promptTokenIds.length > 0 ? 'same-model' : 'nobody';
    }
    return this.#source.traits.resumable ? 'same-weights' : 'nobody';
  }

  #failed(run: AttemptRun): void {
    const { failure, prefill, decode } = run.attempt;
    if (failure === null) return;
    const { clock, metrics, logger } = this.#context;
    const { leg, reason, message } = failure;
    const failed = leg === 'prefill' ? prefill : decode;
    // What a prefill leg left for everybody was not in vain.
    const inVainSinceMs =
      this.#prefill === null ? run.startMs : (run.decodeLeg?.startMs ?? run.startMs);
    this.#notes.failed(inVainSinceMs);
    this.#lastFailure = failure;
    this.#lastFailedAddress = failed?.instance.address ?? '';
    if (run.answer !== null) this.#failedAnswer = run.answer;
    if (this.#streaming === run) this.#streaming = null;
    metrics.count('retries_total', `leg="${leg}",reason="${reason}"`);
    logger.warn('proxy.attempt_failed', {
      request: this.#requestId,
      leg,
      instance: this.#lastFailedAddress,
      reason,
      message,
    });
    this.#plan.ended(run.attempt, clock.monotonicMs());
    if (!this.#runs.some(({ attempt }) => attempt.stage !== 'releasing')) this.#step();
  }

  #giveUp(why: GiveUpReason): void {
    const { logger, namesInstances } = this.#context;
    const failure = this.#lastFailure;
    const message = failure === null ? undefined : `${this.#lastFailedAddress} ${failure.message}`;
    const detail = message === undefined || !namesInstances ? '' : `; last, ${message}`;
    logger.error('proxy.gave_up', { request: this.#requestId, why, failure: message });
    if (this.#response.headersSent) {
      this.#breakStream(`the stream broke and could not be continued${detail}`);
    } else if (why === 'none-up') {
      const text = `no instance that serves "${this.#context.pool.model}" is up${detail}`;
      this.#sendFault(new Fault('OVERLOADED', text));
    } else if (
      (failure?.reason === 'status' || failure?.reason === 'refused') &&
      this.#failedAnswer !== null
    ) {
      this.#sendWhole(this.#failedAnswer);
    } else {
      const code = failure?.reason === 'timeout' ? 'DEADLINE_PASSED' : 'PEER_UNREACHABLE';
      this.#sendFault(new Fault(code, `every instance that was tried failed${detail}`));
    }
    this.#settle();
  }

  /** Where its instance has not told the client already. */
  #breakStream(message: string): void {
    this.#context.metrics.count('stream_failures_total');
    this.#response.end(streamForm(this.#source.path).failure(message));
  }

  #sendWhole(answer: WholeAnswer): void {
    const { body } = answer;
    this.#notes.wrote(body);
    const retryAfter = answer.headers['retry-after'];
    sendBytes(
      this.#response,
      answer.status,
      answer.contentType === '' ? 'application/json' : answer.contentType,
      body,
      {
        ...this.#ownHeaders(),
        ...(typeof retryAfter === 'string' ? { 'retry-after': retryAfter } : {}),
      },
    );
  }

  /** Before any instance has worked for it: what comes too late would be work for nothing. */
  #refuse({ what, predictedMs, objectiveMs }: Miss): void {
    this.#context.metrics.count('objective_refusals_total', `objective="${what.toLowerCase()}"`);
    const soon = Math.min(60, Math.max(1, Math.ceil((predictedMs - objectiveMs) / 1_000)));
    const message = `the ${what} would be ${Math.round(predictedMs)} ms, beyond the objective of ${objectiveMs} ms; try again later`;
    const details = { status: 429, retryAfterSeconds: soon };
    this.#sendFault(new Fault('OVERLOADED', message, { details }));
    this.#settle();
  }

  #sendFault(fault: Fault): void {
    sendFault(this.#response, fault, this.#ownHeaders());
  }

  #ownHeaders(): Headers {
    const headers: Record<string, string> = {
      'x-request-id': this.#requestId,
      ...this.#limitHeaders,
    };
    this.#notes.name(headers);
    return headers;
  }

  /** Nothing more goes to the client. What still runs lets go as its protocol asks. */
  #settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#notes.settled(this.#relay.tokenIds.length, this.#plan.skipReason);
    this.#looking?.cancel();
    this.#waiting?.cancel();
    this.#hedging?.cancel();
    for (const run of [...this.#runs]) run.attempt.leave();
    this.#endIfIdle();
  }

  #endIfIdle(): void {
    if (!this.#settled || this.#over || this.#runs.length > 0) return;
    this.#over = true;
    if (this.#plan.skipReason !== null) {
      const reason = this.#plan.skipReason.replaceAll('-', '_');
      this.#context.metrics.count('prefill_skipped_total', `reason="${reason}"`);
    }
    this.#onOver();
  }
}

function reasonOf({ code }: Fault): FailureReason {
  if (code === 'MALFORMED') return 'malformed';
  return code === 'REFUSED' ? 'refused' : 'status';
}

function upstreamHeaders(
  incoming: ServerRequest,
  requestId: string,
  credential: string | null,
): readonly string[] {
  const headers = ['content-type', 'application/json', 'x-request-id', requestId];
  const { traceparent, tracestate } = incoming.headers;
  if (traceparent !== undefined) {
    headers.push('traceparent', traceparent);
    // Without a parent it means nothing.
    if (tracestate !== undefined) headers.push('tracestate', tracestate);
  }
  if (credential !== null) headers.push('authorization', credential);
  return headers;
}
