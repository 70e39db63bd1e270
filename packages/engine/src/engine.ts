import { assert, Ending, Fault, type Service, sleep } from '@tsukimi/base';
import type { LlamaContext, SequenceLayout } from '@tsukimi/llama';
import { type PlannedRows, type RequestId, Scheduler, type StepPlan } from './core/scheduler.ts';
import type { EngineOptions, EngineStats } from './engine-options.ts';
import { fillBatch } from './fill-batch.ts';
import type { GenerationEvent, GenerationRequest } from './generation.ts';
import { type Finish, GenerationTask } from './generation-task.ts';
import { PrefixExchange, type Saving } from './prefix-exchange.ts';
import type { LoadedPrefix, SavedKind } from './prefix-store.ts';
import { validateRequest } from './validate-request.ts';
import { warmUp } from './warm-up.ts';

/** Weights with which split, batched and resumed greedy output was seen to be bit-equal to that of one sequence alone. */
const exactWeightTypes = ['Q8_0'];

/** Sequences in the slots of one llama.cpp context, computed together step by step. */
export class Engine implements Service {
  readonly name = 'engine';
  readonly #options: EngineOptions;
  readonly #scheduler: Scheduler;
  readonly #ending = new Ending();
  readonly #tasks = new Map<RequestId, GenerationTask>();
  #context: LlamaContext | null = null;
  #exchange: PrefixExchange | null = null;
  #loop: Promise<void> | null = null;
  #state: 'new' | 'running' | 'draining' | 'stopped' = 'new';
  #nextId = 1;
  #wake: (() => void) | null = null;
  #loopEnded = false;
  /** Something happened that the loop has not looked at yet. */
  #stirred = false;
  /** Done by the loop before its next step, as nothing may touch the context during one. */
  #due: (() => Promise<void>)[] = [];
  #counts = { steps: 0, prompt: 0, cached: 0, prefill: 0, generated: 0, failed: 0 };

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#scheduler = new Scheduler({
      slotCount: options.slotCount,
      cellsPerSlot: options.contextLength,
      waitingCountMax: options.waitingCountMax ?? 256,
      prefillBudget: options.prefillBudget ?? 256,
      firstMilestone: options.firstMilestone ?? 2_048,
    });
  }

  async start(): Promise<void> {
    const { model, slotCount, contextLength, threads, prefillBudget, logger } = this.#options;
    const { info } = model;
    if (!info.decoder) {
      throw new Fault(
        'MISCONFIGURED',
        `${info.description} cannot generate text; choose another --model`,
      );
    }
    const context = model.openContext({
      slots: slotCount,
      cellsPerSlot: contextLength,
      threads,
      // Each slot may get one more row than planned, see `fillBatch`.
      batchTokens: (prefillBudget ?? 256) + slotCount,
    });
    try {
      const layout = await warmUp(context);
      this.#context = context;
      this.#exchange = this.#openExchange(context, layout);
    } catch (error) {
      await context.close();
      throw error;
    }
    if (!exactWeightTypes.includes(info.weightType)) {
      logger.warn('engine.exactness_untested', { weightType: info.weightType });
    }
    this.#state = 'running';
    this.#loop = this.#run(context)
      .catch((error: unknown) => {
        this.#failAll(error);
        this.#ending.died(error);
      })
      .finally(() => {
        this.#loopEnded = true;
      });
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(stopDeadline: AbortSignal): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'draining';
    const cut = () => {
      for (const task of this.#tasks.values()) task.cancel();
    };
    if (stopDeadline.aborted) cut();
    else stopDeadline.addEventListener('abort', cut, { once: true });
    this.#notify();
    await this.#loop;
    stopDeadline.removeEventListener('abort', cut);
    await this.#exchange?.stop(stopDeadline);
    await this.#context?.close();
    this.#state = 'stopped';
    this.#ending.stopped();
  }

  /** Under which keys the KV of a prompt is found in the prefix store once it was computed; see `PrefixStore`. */
  keysOf(promptTokens: Int32Array, salt: string): readonly string[] {
    return this.#exchange?.keysOf(promptTokens, salt) ?? [];
  }

  /**
   * Queues a request; its events end with a `GenerationEnd` or a fault. Faults at once: INVALID_ARGUMENT, OVERLOADED when the queue
   * is full, CANCELLED when the engine is not running. Leaving the iteration, or the signal, frees the slot.
   */
  generate(
    request: GenerationRequest,
    { signal }: { signal: AbortSignal },
  ): AsyncIterable<GenerationEvent> {
    if (this.#state !== 'running') throw new Fault('CANCELLED', 'the engine is not running');
    const { model, contextLength, random } = this.#options;
    validateRequest(request, model.vocabulary.size, contextLength);
    const id = this.#nextId++ as RequestId;
    const task = new GenerationTask({
      id,
      request,
      model,
      contextLength,
      seed: request.sampling.seed ?? random.uint32(),
      onCancelled: () => this.#notify(),
    });
    const finish = task.replay();
    if (finish !== null) {
      task.end(finish);
      return task.events;
    }
    this.#scheduler.submit(id, task.promptCount);
    this.#tasks.set(id, task);
    const cancel = () => task.cancel();
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
    task.cancelled.addEventListener('abort', () => signal.removeEventListener('abort', cancel));
    this.#notify();
    return task.events;
  }

  stats(): EngineStats {
    const { slots, runningCount, waitingCount } = this.#scheduler;
    return {
      runningCount,
      waitingCount,
      slotCount: slots.length,
      cellsPerSlot: this.#options.contextLength,
      slotCells: slots.map((slot) => ('computed' in slot ? slot.computed : 0)),
      stepCount: this.#counts.steps,
      promptTokenCount: this.#counts.prompt,
      cachedTokenCount: this.#counts.cached,
      prefillTokenCount: this.#counts.prefill,
      generatedTokenCount: this.#counts.generated,
      failedCount: this.#counts.failed,
      skippedSaveCount: this.#exchange?.skippedCount ?? 0,
    };
  }

  checkInvariants(): void {
    this.#scheduler.checkInvariants();
    const { runningCount, waitingCount } = this.#scheduler;
    assert(this.#tasks.size === runningCount + waitingCount, 'every task is scheduled');
  }

  #openExchange(context: LlamaContext, layout: SequenceLayout | null): PrefixExchange | null {
    const { prefixStore: store, clock, logger, loadMs, model } = this.#options;
    if (store === null) return null;
    if (layout === null) {
      // Such KV may be more than rows of cells; until it is shown to be exact, it is not shared.
      logger.warn('engine.prefixes_not_stored', { model: model.info.description });
      return null;
    }
    return new PrefixExchange({ store, layout, context, clock, logger, loadMs: loadMs ?? 10_000 });
  }

  async #run(context: LlamaContext): Promise<void> {
    while (this.#state === 'running' || !this.#scheduler.idle || this.#due.length > 0) {
      this.#stirred = false;
      this.#removeCancelled(context);
      this.#admit();
      for (const act of this.#due.splice(0)) await act();
      const plan = this.#scheduler.plan();
      if (plan.rows.length > 0) await this.#step(context, plan);
      else if (this.#state === 'running' || !this.#scheduler.idle) await this.#idle();
    }
  }

  /**
   * Prompts and streams are computed one after the other: together, the library would cut the first row off each prompt to
   * compute it with the rows of the streams, and the numbers of a row alone are a little others.
   */
  async #step(context: LlamaContext, plan: StepPlan): Promise<void> {
    this.#options.onStep?.(plan);
    for (const kind of ['decode', 'prefill'] as const) {
      const rows = plan.rows.filter((entry) => entry.kind === kind);
      if (rows.length > 0) await this.#compute(context, rows);
    }
    this.#counts.steps++;
    this.#counts.prefill += plan.prefillCount;
  }

  async #compute(context: LlamaContext, rows: readonly PlannedRows[]): Promise<void> {
    const filled = fillBatch(context.batch, rows, (id) => this.#task(id).tokens);
    try {
      await context.decode(filled.rowCount);
    } catch (error) {
      this.#options.logger.error('engine.step_failed', { reason: String(error) });
      for (const { id } of rows) this.#fail(context, id, error);
      return;
    }
    this.#scheduler.computed(rows);
    // All are sampled before anything else may touch the context.
    const sampled = new Map<RequestId, number>();
    for (const [index, { id, slot, kind, from, count, output }] of rows.entries()) {
      if (kind === 'prefill') context.removeCells(slot, from + count, -1);
      const task = this.#task(id);
      // What is known, since it was produced elsewhere, is computed but not sampled again.
      if (!output || from + count < task.tokens.length) continue;
      assert(task.sampler !== null, 'a task in a slot has a sampler');
      const row = filled.lastRows[index] as number;
      sampled.set(id, task.sampler.sample(context, row, task.outputCount));
    }
    for (const entry of rows) {
      try {
        await this.#advance(context, entry, sampled.get(entry.id) ?? null);
      } catch (error) {
        this.#options.logger.error('engine.request_failed', { reason: String(error) });
        this.#fail(context, entry.id, error);
      }
    }
  }

  /** Rows are computed, and perhaps a token is sampled: saves what is due, tells the consumer. */
  async #advance(
    context: LlamaContext,
    { id, kind, from, count, output }: PlannedRows,
    token: number | null,
  ): Promise<void> {
    const task = this.#task(id);
    const cells = from + count;
    const saves = kind === 'prefill' && (output || this.#isMilestone(cells));
    const saving = saves ? await this.#save(task, cells, 'prompt') : null;
    if (token === null) return;
    this.#counts.generated++;
    if (saving === null || !task.request.saveBeforeFirstToken) {
      await this.#deliver(context, task, token);
      return;
    }
    this.#scheduler.hold(id);
    const { clock, handOverMs } = this.#options;
    const bound = sleep(clock, handOverMs ?? 2_000, task.cancelled);
    this.#whenDone(Promise.race([saving.settled, bound]), async () => {
      if (this.#scheduler.slotOf(id) === null) return;
      this.#scheduler.release(id);
      await this.#deliver(context, task, token);
    });
  }

  #admit(): void {
    for (const { id, slot } of this.#scheduler.admit()) {
      const task = this.#task(id);
      task.open();
      this.#counts.prompt += task.promptCount;
      const exchange = this.#exchange;
      if (exchange === null) {
        this.#scheduler.loaded(id, 0);
        continue;
      }
      const loading = exchange.load(task.request.promptTokens, task.request.salt, task.cancelled);
      this.#whenDone(loading, async (prefix) => {
        if (this.#scheduler.slotOf(id) === null) prefix?.release();
        else await this.#place(task, slot, prefix, exchange);
      });
    }
  }

  async #place(
    task: GenerationTask,
    slot: number,
    prefix: LoadedPrefix | null,
    exchange: PrefixExchange,
  ): Promise<void> {
    let cells = 0;
    if (prefix !== null) {
      const storedCells = prefix.cells;
      cells = await exchange.import(slot, prefix, task.promptCount - 1);
      if (cells > 0) task.storedCells = storedCells;
    }
    task.cachedTokens = cells;
    this.#counts.cached += task.cachedTokens;
    this.#scheduler.loaded(task.id, cells);
  }

  async #deliver(context: LlamaContext, task: GenerationTask, token: number): Promise<void> {
    const { text, finish } = task.append(token);
    task.events.push({ tokens: [token], text });
    if (finish === null) return;
    // The last token is sampled, not computed: it has no cell.
    await this.#save(task, task.tokens.length - 1, 'generated');
    this.#finish(context, task, finish);
  }

  async #save(task: GenerationTask, cells: number, kind: SavedKind): Promise<Saving | null> {
    const slot = this.#scheduler.slotOf(task.id);
    const exchange = this.#exchange;
    if (exchange === null || slot === null || cells <= task.storedCells) return null;
    if (!exchange.wants(kind)) return null;
    const tokens = task.tokens.subarray(0, cells);
    const saving = await exchange.save(slot, tokens, task.request.salt, kind);
    if (saving !== null) task.storedCells = cells;
    return saving;
  }

  #isMilestone(cells: number): boolean {
    const ratio = cells / (this.#options.firstMilestone ?? 2_048);
    return ratio >= 1 && Number.isInteger(Math.log2(ratio));
  }

  #finish(context: LlamaContext, task: GenerationTask, finish: Finish): void {
    this.#remove(context, task);
    task.end(finish);
  }

  #fail(context: LlamaContext, id: RequestId, error: unknown): void {
    const task = this.#tasks.get(id);
    if (task === undefined) return;
    this.#counts.failed++;
    this.#remove(context, task);
    task.events.fail(
      error instanceof Fault
        ? error
        : new Fault('INTERNAL', `a step failed: ${String(error)}`, { cause: error }),
    );
  }

  #remove(context: LlamaContext, task: GenerationTask): void {
    const slot = this.#scheduler.remove(task.id);
    if (slot !== null) context.removeCells(slot, -1, -1);
    this.#tasks.delete(task.id);
    task.close();
    // Whoever still listens to the request's signal on our behalf lets go of it.
    task.cancel();
  }

  #removeCancelled(context: LlamaContext): void {
    for (const task of this.#tasks.values()) {
      if (task.cancelled.aborted)
        this.#finish(context, task, { reason: 'abort', stopReason: null });
    }
  }

  /** The loop is dead: whatever waits is told. */
  #failAll(error: unknown): void {
    this.#state = 'draining';
    this.#options.logger.error('engine.died', { reason: String(error) });
    for (const task of this.#tasks.values()) {
      task.events.fail(new Fault('INTERNAL', 'the engine died', { cause: error }));
      task.close();
    }
    this.#tasks.clear();
  }

  #task(id: RequestId): GenerationTask {
    const task = this.#tasks.get(id);
    assert(task !== undefined, 'a scheduled request has a task');
    return task;
  }

  #whenDone<T>(work: Promise<T>, act: (value: T) => Promise<void>): void {
    void work.then((value) => {
      // Without a loop there is no step to disturb, and what was lent must still be given back.
      if (this.#loopEnded) return act(value);
      this.#due.push(() => act(value));
      return this.#notify();
    });
  }

  #idle(): Promise<void> {
    if (this.#stirred) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #notify(): void {
    this.#stirred = true;
    this.#wake?.();
    this.#wake = null;
  }
}
