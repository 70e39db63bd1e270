import type { Clock, Fault, Scheduled } from '@tsukimi/base';
import { flawOf, othersMayServe, tellsOfFailure } from './answer-check.ts';
import { AttemptWatch, type AttemptWatchListener } from './attempt-watch.ts';
import {
  Attempt,
  type AttemptPair,
  type AttemptPort,
  type Leg,
  type Outcome,
  type Stage,
} from './core/attempt.ts';
import type { Holding } from './core/held-memory.ts';
import type { InstancePool } from './core/instance-pool.ts';
import type { FailureReason, PoolInstance } from './core/pool-instance.ts';
import type { Deadlines } from './deadlines.ts';
import { JsonMembers } from './json-members.ts';
import { LegCall, type LegListener, type WholeAnswer } from './leg-call.ts';
import type { GenerationProbe } from './membership/generation-probe.ts';
import type { ProxyMetrics } from './metrics.ts';
import { prefillBody } from './protocols/prefill-body.ts';
import type { Handover, LegSource, Pair, PdProtocol } from './protocols/protocol.ts';
import type { AttemptTrace } from './telemetry/attempt-trace.ts';
import type { ToldError } from './told-error.ts';
import type { Upstream } from './upstream.ts';
import { type PrefilledPrompts, prefilledPrompts } from './vllm-store/prefilled-prompts.ts';
import type { StoreHandover } from './vllm-store/store-handover.ts';

export interface AttemptContext {
  readonly clock: Clock;
  readonly pool: InstancePool;
  readonly upstream: Upstream;
  readonly deadlines: Deadlines;
  readonly metrics: ProxyMetrics;
  readonly generationProbe: GenerationProbe;
  readonly storeHandover: StoreHandover | null;
}

/** What one try makes of one request. */
export interface AttemptPlan {
  readonly pair: Pair;
  readonly legs: AttemptPair;
  readonly protocol: PdProtocol;
  readonly source: LegSource;
  /** Of the blocks of its text; see `RequestFacts`. */
  readonly blockHashes: readonly number[];
  /** For what is kept of its answers. */
  readonly holding: Holding;
  /** Left by the prefill leg of an earlier try, if this one has none. */
  readonly handover: Handover | null;
  /** Of the prefill leg, and of the decode leg of a stream. */
  readonly firstByteMs: number;
  /** Instances judge the client's own credential, which no other one will like better. */
  readonly carriesClientKey: boolean;
  /** The client has the beginning of a stream: an answer of any other kind is a failure. */
  readonly continuesStream: boolean;
  /** Null when nobody traces. */
  readonly trace: AttemptTrace | null;
}

export interface AttemptListener {
  /** The prefill leg was answered. `kept`: whoever decodes can use what it left, or do without. */
  onPrefilled(run: AttemptRun, tookMs: number, kept: boolean): void;
  /** Bytes of a stream; to be passed on, and to be judged by `ended` and `broke`. */
  onStream(run: AttemptRun, bytes: Buffer): void;
  /** The last call. */
  onOver(run: AttemptRun, outcome: Outcome): void;
  /** The client has not read for too long. */
  onClientStalled(): void;
  /** There is no room for an answer, and would be none for that of anybody else. */
  onUnheld(fault: Fault): void;
}

/** The end of a stream was seen; the rest of the connection's last chunk may take this long. */
const lingerMs = 1_000;
const deaf = { onHead: () => {}, onData: () => {}, onEnd: () => {}, onFailure: () => {} };
const handoverGraceMs = 1_000;

/** Carries out one `Attempt`: makes the legs by the protocol of the pair, sends them, keeps the time. */
export class AttemptRun implements AttemptPort, LegListener, AttemptWatchListener {
  readonly attempt: Attempt;
  readonly startMs: number;
  readonly #context: AttemptContext;
  readonly #plan: AttemptPlan;
  readonly #listener: AttemptListener;
  readonly #watch: AttemptWatch;
  #handover: Handover | null;
  #prefill: LegCall | null = null;
  #decode: LegCall | null = null;
  #answer: WholeAnswer | null = null;
  /** What decode should find in the store before it begins. */
  #prompts: PrefilledPrompts | null = null;
  #storeWait: Scheduled | null = null;
  #handoverMs: number | null = null;
  #wasPaused = false;

  constructor(context: AttemptContext, plan: AttemptPlan, listener: AttemptListener) {
    this.#context = context;
    this.#plan = plan;
    this.#listener = listener;
    this.#handover = plan.handover;
    this.startMs = context.clock.monotonicMs();
    this.#watch = new AttemptWatch(context.clock, context.deadlines, plan.firstByteMs, this);
    this.attempt = new Attempt(context.clock, context.pool, plan.legs, plan.protocol, this);
  }

  get pair(): Pair {
    return this.#plan.pair;
  }

  get handover(): Handover | null {
    return this.#handover;
  }

  /** The whole answer of an instance: the client's, or one that tells of the instance's failure. */
  get answer(): WholeAnswer | null {
    return this.#answer;
  }

  get legsTogether(): boolean {
    return this.attempt.prefill !== null && this.#plan.protocol.order === 'together';
  }

  /** How long decode was held back; null where it was not. */
  get handoverMs(): number | null {
    return this.#handoverMs;
  }

  /** The decode leg; null until it is sent. */
  get decodeLeg(): LegCall | null {
    return this.#decode;
  }

  begin(): void {
    this.attempt.begin();
  }

  /** The stream came to its proper end. `outputTokenCount` is what came of it; 0 when not known. */
  streamEnded(outputTokenCount: number): void {
    this.#decode?.ended(this.#context.clock, lingerMs);
    // A client that made it wait tells nothing of its speed.
    this.attempt.decodeAnswered(this.#wasPaused ? 0 : outputTokenCount);
  }

  /** The stream begins or breaks off with an error, which is judged as an answer of its status would be. */
  streamRefused({ status, json }: ToldError, message: string): void {
    this.#decode?.ended(this.#context.clock, lingerMs);
    const answer = { status, headers: {}, contentType: '', body: Buffer.from(json) };
    this.#judge('decode', answer, message);
  }

  /** The stream cannot be used further. */
  streamBroke(reason: FailureReason, message: string): void {
    this.#decode?.close();
    this.attempt.failed('decode', reason, message);
  }

  /** The client reads too slowly, or again. */
  pause(): void {
    this.#wasPaused = true;
    this.#decode?.pause();
    this.#watch.pause();
  }

  resume(): void {
    this.#watch.resume();
    this.#decode?.resume();
  }

  send(leg: Leg): void {
    const { clock, upstream } = this.#context;
    const { protocol, pair } = this.#plan;
    const assignment = leg === 'prefill' ? this.attempt.prefill : this.attempt.decode;
    if (assignment === null) return;
    const { instance } = assignment;
    const request =
      leg === 'prefill'
        ? protocol.prefillLeg(this.#plan.source, pair)
        : protocol.decodeLeg(this.#decodeSource(), pair, this.#handover);
    const call = new LegCall(leg, instance, clock.monotonicMs(), this.#plan.holding, this);
    if (leg === 'prefill') this.#prefill = call;
    else this.#decode = call;
    const { path, body } = request;
    const headers = this.#plan.trace?.sent(leg, instance, request.headers) ?? request.headers;
    call.began(upstream.send(instance, { method: 'POST', path, headers, body }, call));
  }

  close(leg: Leg): void {
    const call = leg === 'prefill' ? this.#prefill : this.#decode;
    if (call === null) return;
    call.close();
    const { protocol, source, pair } = this.#plan;
    const request = protocol.abortRequest?.(source, pair);
    if (request === undefined) return;
    const { upstream, clock, deadlines } = this.#context;
    // Nobody minds how it ends.
    const abort = upstream.send(call.instance, { method: 'POST', ...request }, deaf);
    clock.schedule(deadlines.probeMs, () => abort.abort());
  }

  awaitHandover(): void {
    const { storeHandover, clock, metrics } = this.#context;
    if (storeHandover === null || this.#prompts === null) return;
    const startMs = clock.monotonicMs();
    this.#plan.trace?.handoverBegan();
    const { blockHashes } = this.#plan;
    this.#storeWait = storeHandover.wait(this.#prompts, blockHashes, (outcome) => {
      this.#storeWait = null;
      metrics.count('store_waits_total', `outcome="${outcome}"`);
      this.#plan.trace?.handoverEnded(outcome);
      this.#handoverMs = clock.monotonicMs() - startMs;
      metrics.observeMs('handover', this.#handoverMs);
      this.attempt.handoverReady();
    });
  }

  entered(stage: Stage): void {
    const { deadlines } = this.#context;
    const { source, firstByteMs, legs } = this.#plan;
    if (this.#storeWait !== null && stage !== 'handover') {
      this.#storeWait.cancel();
      this.#storeWait = null;
    }
    switch (stage) {
      case 'prefill':
        this.#watch.enter(firstByteMs, legs.prefill?.instance ?? null, 'prefill');
        break;
      case 'handover':
        // It ends by itself before that.
        this.#watch.enter(deadlines.handoverMs + handoverGraceMs, null, 'decode');
        break;
      case 'decode_first_byte':
        this.#watch.enter(
          source.traits.streams ? firstByteMs : deadlines.answerMs,
          legs.decode.instance,
          'decode',
        );
        break;
      case 'streaming':
        this.#watch.sawBytes();
        break;
      case 'releasing':
        this.#watch.enter(deadlines.releaseMs, legs.decode.instance, 'decode');
        break;
      case 'done':
        this.#watch.cancel();
    }
  }

  over(outcome: Outcome): void {
    if (outcome === 'left' && this.#answer === null) this.#watch.left();
    this.#plan.trace?.over(outcome, this.attempt.failure);
    this.#listener.onOver(this, outcome);
  }

  onExpired(message: string): void {
    this.attempt.expired(message);
  }

  onSilent(instance: PoolInstance, sinceMs: number): void {
    this.#context.generationProbe.ask(instance, sinceMs, sinceMs + this.#plan.firstByteMs);
  }

  onClientStalled(): void {
    this.#listener.onClientStalled();
  }

  onLegHead({ leg, instance, status, streams }: LegCall): void {
    this.#context.pool.showedLife(instance);
    this.#plan.trace?.answered(leg, status);
    if (leg === 'decode' && this.#plan.continuesStream && !streams) {
      this.streamBroke(
        tellsOfFailure(status) ? 'status' : 'refused',
        `refused to continue the stream with status ${status}`,
      );
    }
  }

  onLegBytes(_: LegCall, bytes: Buffer): void {
    if (!isComment(bytes)) this.#watch.sawBytes();
    else if (this.attempt.stage !== 'streaming') return;
    this.attempt.decodeBytes();
    // What came for nobody was only waited for.
    if (this.attempt.outcome === null) this.#listener.onStream(this, bytes);
  }

  onLegEnd(call: LegCall): void {
    const { leg, streams } = call;
    if (streams) {
      this.attempt.failed('decode', 'reset', 'ended the stream before its end');
      return;
    }
    const flaw = call.status === 200 && !call.unheld ? flawOf(call, this.#plan.source.path) : null;
    if (flaw?.kind === 'malformed') {
      this.attempt.failed(leg, 'malformed', flaw.message);
      return;
    }
    if (flaw !== null) call.status = flaw.status;
    const { status } = call;
    const message = flaw?.message ?? `answered with status ${status}`;
    if (leg === 'prefill' && status < 300) {
      if (call.unheld) this.attempt.prefillAnswered(true, false);
      else this.#prefillAnswered(call);
      return;
    }
    this.#judge(leg, call, message);
  }

  onLegUnheld({ leg }: LegCall, fault: Fault): void {
    const { stage } = this.attempt;
    // It is not, or no longer, what the client waits for.
    if (stage === 'releasing' || (stage === 'streaming' && leg === 'prefill')) return;
    this.#listener.onUnheld(fault);
  }

  onLegFailure({ leg }: LegCall, reason: FailureReason, message: string): void {
    this.attempt.failed(leg, reason, message);
  }

  #judge(leg: Leg, answer: WholeAnswer, message: string): void {
    this.#answer = answer;
    const { status } = answer;
    if (status < 300) this.attempt.decodeAnswered();
    else if (tellsOfFailure(status)) this.attempt.failed(leg, 'status', message);
    else if (this.#othersMayServe(leg, answer)) this.attempt.failed(leg, 'refused', message);
    else this.attempt.refused(leg);
  }

  #othersMayServe(leg: Leg, answer: WholeAnswer): boolean {
    const { pool } = this.#context;
    const { source, carriesClientKey } = this.#plan;
    const refusing = (leg === 'prefill' ? this.attempt.prefill : this.attempt.decode)?.instance;
    if (refusing === undefined) return false;
    const others = pool.instances.filter(({ origin }) => origin !== refusing.origin);
    const model = String(source.members.scalar('model') ?? pool.model);
    return othersMayServe(answer, refusing, others, { model, carriesClientKey });
  }

  #prefillAnswered(call: LegCall): void {
    const { protocol, pair, trace } = this.#plan;
    trace?.prefillEnded();
    this.#handover = protocol.handoverOf(call.body, pair);
    const holds = this.#handover?.held === true;
    const tookMs = this.#context.clock.monotonicMs() - call.startMs;
    this.#listener.onPrefilled(this, tookMs, !holds);
    if (holds && pair.prefill !== null) this.#context.pool.handsOver(pair.prefill);
    const { storeHandover } = this.#context;
    if (storeHandover !== null && pair.prefill !== null) {
      const tokenIds = this.#handover?.promptTokenIds ?? [];
      this.#prompts = prefilledPrompts(tokenIds, this.#plan.source.members, pair.prefill);
      storeHandover.learnChunks(this.#plan.blockHashes, this.#handover?.chunkKeys ?? []);
    }
    this.attempt.prefillAnswered(holds, this.#prompts !== null);
  }

  /** For an answer that nobody waits for, a single token does. */
  #decodeSource(): LegSource {
    const { source } = this.#plan;
    if (this.attempt.stage !== 'releasing') return source;
    const body = prefillBody(source);
    const members = JsonMembers.tryParse(body);
    return members === null ? source : { ...source, body, members };
  }
}

/** Of events, nothing but comments, which keep a connection alive and tell nothing of the engine. */
function isComment(bytes: Buffer): boolean {
  return bytes[0] === 0x3a && bytes.at(-1) === 0x0a && !bytes.includes('data:');
}
