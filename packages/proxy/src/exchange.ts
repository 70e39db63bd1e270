import { type Clock, Fault, type Logger, type Random, type Scheduled } from '@tsukimi/base';
import type { ServerRequest, ServerResponse } from '@tsukimi/http';
import { encodeSse, openAiError } from '@tsukimi/openai-api';
import { Attempt, contentTypeOf, type WholeAnswer, whole } from './attempt.ts';
import { AttemptWatch } from './attempt-watch.ts';
import type { InstancePool } from './core/instance-pool.ts';
import type { FailureReason, PoolInstance } from './core/pool-instance.ts';
import { type Leg, RequestPlan, type Step } from './core/request-plan.ts';
import { type Deadlines, limits } from './deadlines.ts';
import { FrameRelay } from './frame-relay.ts';
import { type Headers, sendBytes, sendFault } from './http-answers.ts';
import type { JsonMembers } from './json-members.ts';
import type { ProxyMetrics } from './metrics.ts';
import { type Handover, type LegSource, Pair } from './protocols/protocol.ts';
import { protocolOf } from './protocols/protocols.ts';
import { requestFacts } from './request-facts.ts';
import { type RequestTraits, traitsOf } from './request-traits.ts';
import type { Upstream, UpstreamHeaders } from './upstream.ts';
import { prefilledPrompts } from './vllm-store/prefilled-prompts.ts';
import type { StoreHandover } from './vllm-store/store-handover.ts';

export interface ExchangeContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly pool: InstancePool;
  readonly upstream: Upstream;
  readonly metrics: ProxyMetrics;
  readonly deadlines: Deadlines;
  /** `Bearer …` towards instances when the client sent nothing of its own for them; null for none. */
  readonly authorization: string | null;
  /** Null where no master is known to ask. */
  readonly storeHandover: StoreHandover | null;
  /** The clients' `Authorization` is for the proxy, and no instance sees it. */
  readonly keepsAuthorization: boolean;
}

export interface ExchangeRequest {
  readonly path: string;
  readonly requestId: string;
  readonly body: Buffer;
  readonly members: JsonMembers;
  /** Beside those of the answer itself. */
  readonly answerHeaders: Headers;
}

/** After the end of a stream was seen, the connection may take this long to become free for others. */
const lingerMs = 1_000;
const forwardedHeaders = ['traceparent', 'tracestate'] as const;

/**
 * One request of a client, from its body to the last byte of its answer: does what the plan says and
 * tells it what came of it. Faults of instances end here; the client sees one answer or one stream.
 */
export class Exchange {
  readonly #context: ExchangeContext;
  readonly #response: ServerResponse;
  readonly #request: ExchangeRequest;
  readonly #traits: RequestTraits;
  readonly #plan: RequestPlan;
  readonly #relay: FrameRelay;
  readonly #headers: readonly string[];
  readonly #firstByteMs: number;
  readonly #onOver: () => void;
  #attempt: Attempt | null = null;
  #waiting: Scheduled | null = null;
  /** Who answered the prefill leg well. */
  #prefill: PoolInstance | null = null;
  #handover: Handover | null = null;
  /** The last answer of an instance that says it failed: better than words of our own. */
  #failedAnswer: WholeAnswer | null = null;
  #lastFailure: { readonly reason: FailureReason; readonly message: string } | null = null;
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
    this.#request = request;
    this.#onOver = onOver;
    this.#traits = traitsOf(request.members);
    this.#headers = this.#upstreamHeaders(incoming);
    const { deadlines, clock } = context;
    this.#firstByteMs =
      deadlines.firstByteMs + deadlines.firstBytePerTokenMs * this.#traits.promptTokenCount;
    this.#plan = new RequestPlan(context.pool, {
      request: requestFacts(request.members, this.#traits),
      retryUntilMs: clock.monotonicMs() + this.#firstByteMs,
      resumeWithinMs: deadlines.gapMs,
      nobodyUpWaitMs: deadlines.nobodyUpMs,
    });
    this.#relay = new FrameRelay({
      stripsTokenIds: !this.#traits.wantsTokenIds,
      frameByteCountMax: limits.frameByteCountMax,
    });
  }

  begin(): void {
    this.#step();
  }

  /** The client is gone, or waited for too long: whatever runs for it is called off. */
  cancel(): void {
    this.#finish();
  }

  #step(): void {
    if (this.#over) return;
    const step = this.#plan.next(this.#context.clock.monotonicMs());
    switch (step.kind) {
      case 'attempt':
        this.#send(step.leg, step.instance);
        break;
      case 'wait':
        this.#waiting = this.#context.clock.schedule(step.delayMs, () => this.#step());
        break;
      case 'give-up':
        this.#giveUp(step.why);
        break;
    }
  }

  #send(leg: Leg, instance: PoolInstance): void {
    const { clock, deadlines, random } = this.#context;
    const ours = instance.identity?.ours === true;
    const streams = leg === 'decode' && this.#traits.streams;
    if (leg === 'decode' && this.#relay.begun) {
      this.#context.metrics.count('resumed_streams_total');
      this.#context.logger.warn('proxy.stream_resumed', {
        request: this.#request.requestId,
        instance: instance.address,
        tokens: this.#relay.tokenIds.length,
      });
    }
    this.#relay.restart(streams && ours && this.#traits.resumable);
    const attempt = new Attempt(leg, instance, clock.monotonicMs());
    this.#attempt = attempt;
    attempt.watch = new AttemptWatch({
      clock,
      deadlines,
      instance,
      answerWithinMs: leg === 'prefill' || streams ? this.#firstByteMs : deadlines.answerMs,
      onExpired: (message) => this.#failed(attempt, 'timeout', message),
      onClientStalled: () => this.#response.destroy(),
    });
    const pair =
      leg === 'prefill'
        ? new Pair(instance, null, random)
        : new Pair(this.#prefill, instance, random);
    const protocol = protocolOf(pair);
    const { path, headers, body } =
      leg === 'prefill'
        ? protocol.prefillLeg(this.#source(), pair)
        : protocol.decodeLeg(this.#source(), pair, this.#handover);
    const call = this.#context.upstream.send(
      instance,
      { method: 'POST', path, headers, body },
      {
        onHead: (status, headers) => this.#onHead(attempt, status, headers),
        onData: (bytes) => this.#onData(attempt, bytes),
        onEnd: () => this.#onEnd(attempt),
        onFailure: (reason, message) => {
          attempt.linger?.cancel();
          this.#failed(attempt, reason, message);
        },
      },
    );
    attempt.call = call;
    // A call that failed within `send` has been dealt with already.
    if (this.#attempt !== attempt) call.abort();
  }

  #source(): LegSource {
    const { path, body, members } = this.#request;
    const { tokenIds } = this.#relay;
    return {
      path,
      body,
      members,
      traits: this.#traits,
      headers: this.#headers,
      outputTokenIds: tokenIds,
      asksPromptTokenIds: this.#context.storeHandover !== null,
    };
  }

  #onHead(attempt: Attempt, status: number, headers: UpstreamHeaders): void {
    if (this.#attempt !== attempt) return;
    this.#context.pool.showedLife(attempt.instance);
    const contentType = String(headers['content-type'] ?? '');
    attempt.streams =
      attempt.leg === 'decode' && status === 200 && contentType.startsWith('text/event-stream');
    if (this.#plan.streaming && !attempt.streams) {
      const reason = status >= 500 ? 'status' : 'refused';
      this.#failed(attempt, reason, `refused to continue the stream with status ${status}`);
      return;
    }
    attempt.answer = { status, headers, pieces: [], byteCount: 0 };
  }

  #onData(attempt: Attempt, bytes: Buffer): void {
    if (this.#attempt !== attempt || attempt.answer === null) return;
    if (attempt.streams) {
      this.#relayBytes(attempt, bytes);
      return;
    }
    attempt.answer.pieces.push(bytes);
    attempt.answer.byteCount += bytes.length;
    if (attempt.answer.byteCount > limits.answerByteCountMax) {
      const message = `answered with more than ${limits.answerByteCountMax} bytes`;
      this.#failed(attempt, 'malformed', message);
    }
  }

  #relayBytes(attempt: Attempt, bytes: Buffer): void {
    let relayed: ReturnType<FrameRelay['push']>;
    try {
      relayed = this.#relay.push(bytes);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#failed(attempt, error.code === 'MALFORMED' ? 'malformed' : 'status', error.message);
      return;
    }
    attempt.watch?.sawBytes();
    if (relayed.bytes !== null) this.#writeFrames(attempt, relayed.bytes);
    if (relayed.ended) {
      this.#response.end();
      // The last chunk of the connection follows at once; cutting it would waste the connection.
      const { call } = attempt;
      attempt.linger = this.#context.clock.schedule(lingerMs, () => call?.abort());
      this.#succeeded(attempt);
    }
  }

  #writeFrames(attempt: Attempt, frames: Buffer | string): void {
    if (!this.#response.headersSent) {
      const { clock, metrics } = this.#context;
      metrics.observeMs('decode_first_byte', clock.monotonicMs() - attempt.startMs);
      this.#response.writeHead(200, {
        'content-type': contentTypeOf(attempt.answer, 'text/event-stream; charset=utf-8'),
        'cache-control': 'no-cache',
        ...this.#ownHeaders(),
      });
    }
    this.#plan.streamed(
      this.#traits.resumable && attempt.instance.identity?.ours === true,
      this.#context.clock.monotonicMs(),
    );
    const flows =
      typeof frames === 'string'
        ? this.#response.write(frames, 'latin1')
        : this.#response.write(frames);
    if (flows) return;
    attempt.call?.pause();
    attempt.watch?.pause();
    this.#response.once('drain', () => {
      attempt.watch?.resume();
      attempt.call?.resume();
    });
  }

  #onEnd(attempt: Attempt): void {
    attempt.linger?.cancel();
    if (this.#attempt !== attempt || attempt.answer === null) return;
    const { status } = attempt.answer;
    if (attempt.streams) {
      this.#failed(attempt, 'reset', 'ended the stream before its end');
    } else if (status >= 500) {
      this.#failedAnswer = attempt.answer;
      this.#failed(attempt, 'status', `answered with status ${status}`);
    } else if (attempt.leg === 'prefill' && status < 300) {
      this.#prefillDone(attempt, attempt.answer);
    } else {
      // The answer, or an instance's word that the request itself is wrong, which others would repeat.
      this.#sendWhole(attempt.answer);
      this.#succeeded(attempt);
    }
  }

  #prefillDone(attempt: Attempt, answer: WholeAnswer): void {
    const { clock, metrics, random } = this.#context;
    const nowMs = clock.monotonicMs();
    metrics.observeMs('prefill', nowMs - attempt.startMs);
    const pair = new Pair(attempt.instance, null, random);
    this.#handover = protocolOf(pair).handoverOf(whole(answer), pair);
    this.#prefill = attempt.instance;
    attempt.watch?.cancel();
    this.#attempt = null;
    this.#plan.prefillDone(nowMs);
    this.#awaitHandover(attempt.instance, nowMs);
  }

  /** Goes on when the store has what prefill left there, or it is not worth waiting any more. */
  #awaitHandover(prefill: PoolInstance, startMs: number): void {
    const { storeHandover, clock, metrics } = this.#context;
    const tokenIds = this.#handover?.promptTokenIds ?? [];
    const prompts = prefilledPrompts(tokenIds, this.#request.members, prefill);
    if (storeHandover === null || prompts === null) {
      this.#step();
      return;
    }
    this.#waiting = storeHandover.wait(prompts, (outcome) => {
      metrics.count('store_waits_total', `outcome="${outcome}"`);
      metrics.observeMs('handover', clock.monotonicMs() - startMs);
      this.#step();
    });
  }

  #failed(attempt: Attempt, reason: FailureReason, message: string): void {
    if (this.#attempt !== attempt) return;
    const { clock, metrics, logger } = this.#context;
    this.#attempt = null;
    attempt.stop();
    this.#lastFailure = { reason, message: `${attempt.instance.address} ${message}` };
    metrics.count('retries_total', `leg="${attempt.leg}",reason="${reason}"`);
    logger.warn('proxy.attempt_failed', {
      request: this.#request.requestId,
      leg: attempt.leg,
      instance: attempt.instance.address,
      reason,
      message,
    });
    this.#plan.failed(reason, message, clock.monotonicMs());
    this.#step();
  }

  #succeeded(attempt: Attempt): void {
    const { clock, metrics } = this.#context;
    metrics.observeMs('decode', clock.monotonicMs() - attempt.startMs);
    attempt.watch?.cancel();
    this.#attempt = null;
    this.#plan.decodeDone(clock.monotonicMs(), this.#relay.tokenIds.length);
    this.#finish();
  }

  #giveUp(why: Extract<Step, { kind: 'give-up' }>['why']): void {
    const { metrics, logger } = this.#context;
    const detail = this.#lastFailure === null ? '' : `; last, ${this.#lastFailure.message}`;
    logger.error('proxy.gave_up', {
      request: this.#request.requestId,
      why,
      failure: this.#lastFailure?.message,
    });
    if (this.#response.headersSent) {
      metrics.count('stream_failures_total');
      const error = openAiError(502, `the stream broke and could not be continued${detail}`, {
        code: 'stream_broken',
      });
      this.#response.end(encodeSse(error));
    } else if (why === 'none-up') {
      const message = `no instance that serves "${this.#context.pool.model}" is up${detail}`;
      this.#sendFault(new Fault('OVERLOADED', message));
    } else if (this.#lastFailure?.reason === 'status' && this.#failedAnswer !== null) {
      this.#sendWhole(this.#failedAnswer);
    } else {
      const code = this.#lastFailure?.reason === 'timeout' ? 'DEADLINE_PASSED' : 'PEER_UNREACHABLE';
      this.#sendFault(new Fault(code, `every instance that was tried failed${detail}`));
    }
    this.#finish();
  }

  #sendWhole(answer: WholeAnswer): void {
    const retryAfter = answer.headers['retry-after'];
    sendBytes(
      this.#response,
      answer.status,
      contentTypeOf(answer, 'application/json'),
      whole(answer),
      {
        ...this.#ownHeaders(),
        ...(typeof retryAfter === 'string' ? { 'retry-after': retryAfter } : {}),
      },
    );
  }

  #sendFault(fault: Fault): void {
    sendFault(this.#response, fault, this.#ownHeaders());
  }

  #ownHeaders(): Headers {
    return { 'x-request-id': this.#request.requestId, ...this.#request.answerHeaders };
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#waiting?.cancel();
    this.#attempt?.stop();
    this.#attempt = null;
    if (this.#plan.skipReason !== null) {
      const reason = this.#plan.skipReason.replaceAll('-', '_');
      this.#context.metrics.count('prefill_skipped_total', `reason="${reason}"`);
    }
    this.#plan.end(this.#context.clock.monotonicMs(), this.#relay.tokenIds.length);
    this.#onOver();
  }

  #upstreamHeaders(incoming: ServerRequest): readonly string[] {
    const headers = ['content-type', 'application/json', 'x-request-id', this.#request.requestId];
    for (const name of forwardedHeaders) {
      const value = incoming.headers[name];
      if (typeof value === 'string') headers.push(name, value);
    }
    const { authorization, keepsAuthorization } = this.#context;
    const forInstances = keepsAuthorization ? undefined : incoming.headers['authorization'];
    const credential = forInstances ?? authorization;
    if (credential !== null) headers.push('authorization', credential);
    return headers;
  }
}
