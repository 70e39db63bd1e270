import { assert, type Clock } from '@tsukimi/base';
import { BlockCache } from './block-cache.ts';
import type { CostModel, PromptSpan } from './cost-model.ts';
import { Link } from './link.ts';
import type { Profile } from './profile.ts';

/** Where KV lies outside an instance. */
export interface BlockStore {
  /** How many of `blocks`, from the first on, are there without a gap; `from` of them need no look. */
  leadingCount(blocks: readonly number[], from?: number): number;
  /** They are there from now on, and count as used now. */
  put(blocks: readonly number[]): void;
}

/** What an instance is asked to do: a prompt, then so many tokens. A prefill leg asks for one. */
export interface Job {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly blocks: readonly number[];
  /** Where blocks come from that the instance has not; null: nowhere. */
  readonly source: BlockStore | null;
  /** Where the prompt's blocks go when it is done, before the first token is shown; null: nowhere. */
  readonly target: BlockStore | null;
  /** `computedTokens`: of the prompt, by this instance. */
  onFirstToken(computedTokens: number): void;
  onEnd(): void;
}

interface Running {
  readonly job: Job;
  /** Leading blocks that were here when it began. */
  readonly heldCount: number;
  /** Leading tokens that were here, or loaded. */
  readonly startTokens: number;
  /** How much of the prompt has its KV here. */
  doneTokens: number;
}

export interface InstanceOptions {
  readonly clock: Clock;
  readonly profile: Profile;
  readonly cost: CostModel;
  readonly blockTokens: number;
}

/**
 * An engine with continuous batching, step by step: a step computes a bounded piece of the prompts
 * that wait, first come first served, and one token of every sequence that decodes. A job waits until
 * a slot and memory for all its KV are free, then loads what the source has, then its prompt is due.
 */
export class SimulatedInstance {
  readonly #options: InstanceOptions;
  readonly #cache: BlockCache;
  readonly #in: Link;
  readonly #out: Link;
  readonly #waiting: Job[] = [];
  readonly #prompts: Running[] = [];
  /** Have their first token, and decode from the next step on. */
  readonly #joining: Running[] = [];
  /** By the number of the step that makes their last token. */
  readonly #endings = new Map<number, Running[]>();
  #slotCount = 0;
  #decodingCount = 0;
  #residentTokens = 0;
  #stepCount = 0;
  #stepping = false;
  busyMs = 0;
  computedTokens = 0;
  endedCount = 0;

  constructor(options: InstanceOptions) {
    this.#options = options;
    const { clock, profile } = options;
    const link = {
      clock,
      bytesPerSecond: profile.transferBytesPerSecond,
      fixedMs: profile.transferFixedMs,
    };
    this.#cache = new BlockCache(Math.floor(profile.kvTokens / options.blockTokens));
    this.#in = new Link(link);
    this.#out = new Link(link);
  }

  get idle(): boolean {
    return this.#slotCount === 0 && this.#waiting.length === 0;
  }

  submit(job: Job): void {
    this.#waiting.push(job);
    this.#admit();
  }

  #admit(): void {
    const { profile, clock, blockTokens } = this.#options;
    while (this.#waiting.length > 0 && this.#slotCount < profile.slots) {
      const job = this.#waiting[0] as Job;
      const { blocks, inputTokens, source } = job;
      const hitCount = this.#cache.leadingCount(blocks);
      const reserved = Math.ceil((inputTokens + job.outputTokens) / blockTokens) - hitCount;
      if (!this.#cache.hold(blocks, hitCount, reserved)) {
        assert(this.#slotCount > 0, 'an idle instance has room for any request of the trace');
        return;
      }
      this.#waiting.shift();
      this.#slotCount += 1;
      const storedCount = source?.leadingCount(blocks, hitCount) ?? hitCount;
      // The last token is always computed: the first output token needs its logits.
      const startTokens = Math.min(storedCount * blockTokens, inputTokens - 1);
      const running = { job, heldCount: hitCount, startTokens, doneTokens: startTokens };
      if (source !== null && storedCount > hitCount) source.put(blocks.slice(0, storedCount));
      const lookupMs = source === null ? 0 : (blocks.length - hitCount) * profile.lookupMsPerBlock;
      const loadedBytes = this.#bytesOf(storedCount - hitCount);
      const due = () => {
        this.#prompts.push(running);
        this.#step();
      };
      if (loadedBytes > 0) clock.schedule(lookupMs, () => this.#in.transfer(loadedBytes, due));
      else if (lookupMs > 0) clock.schedule(lookupMs, due);
      else due();
    }
  }

  #step(): void {
    if (this.#stepping) return;
    for (const running of this.#joining.splice(0)) {
      const { inputTokens, outputTokens } = running.job;
      this.#decodingCount += 1;
      this.#residentTokens += inputTokens + 1;
      const last = this.#stepCount + outputTokens - 1;
      const others = this.#endings.get(last);
      if (others === undefined) this.#endings.set(last, [running]);
      else others.push(running);
    }
    if (this.#prompts.length === 0 && this.#decodingCount === 0) return;
    const { clock, cost, profile } = this.#options;
    const spans: PromptSpan[] = [];
    let budget = profile.stepTokens;
    for (const { doneTokens, job } of this.#prompts) {
      if (budget === 0) break;
      const to = Math.min(job.inputTokens, doneTokens + budget);
      spans.push({ from: doneTokens, to });
      budget -= to - doneTokens;
    }
    let durationMs = 0;
    if (spans.length > 0) durationMs += cost.prefillFixedMs;
    for (const span of spans) durationMs += cost.spanMs(span);
    if (this.#decodingCount > 0) {
      durationMs += cost.decodeStepMs(this.#decodingCount, this.#residentTokens);
    }
    this.#stepping = true;
    this.busyMs += durationMs;
    clock.schedule(durationMs, () => {
      this.#stepped(spans);
      this.#stepping = false;
      this.#admit();
      this.#step();
    });
  }

  #stepped(spans: readonly PromptSpan[]): void {
    this.#stepCount += 1;
    this.#residentTokens += this.#decodingCount;
    const ending = this.#endings.get(this.#stepCount) ?? [];
    this.#endings.delete(this.#stepCount);
    for (const running of ending) {
      this.#decodingCount -= 1;
      this.#residentTokens -= running.job.inputTokens + running.job.outputTokens;
      this.#end(running);
    }
    spans.forEach(({ from, to }, at) => {
      (this.#prompts[at] as Running).doneTokens = to;
      this.computedTokens += to - from;
    });
    for (let first = this.#prompts[0]; first !== undefined; first = this.#prompts[0]) {
      if (first.doneTokens < first.job.inputTokens) break;
      this.#prompts.shift();
      this.#promptDone(first);
    }
  }

  #promptDone(running: Running): void {
    const { blocks, target } = running.job;
    this.#cache.fill(blocks, running.heldCount);
    if (target === null) return this.#firstToken(running);
    const newCount = blocks.length - target.leadingCount(blocks);
    const stored = () => {
      target.put(blocks);
      this.#firstToken(running);
      this.#admit();
      this.#step();
    };
    if (newCount === 0) stored();
    else this.#out.transfer(this.#bytesOf(newCount), stored);
  }

  #firstToken(running: Running): void {
    const { job, startTokens } = running;
    job.onFirstToken(job.inputTokens - startTokens);
    if (job.outputTokens === 1) this.#end(running);
    else this.#joining.push(running);
  }

  #end({ job }: Running): void {
    const { blockTokens, profile } = this.#options;
    const generatedCount =
      Math.ceil((job.inputTokens + job.outputTokens) / blockTokens) - job.blocks.length;
    this.#cache.release(job.blocks, generatedCount, profile.keepsPrefixes);
    this.#slotCount -= 1;
    this.endedCount += 1;
    job.onEnd();
  }

  #bytesOf(blockCount: number): number {
    return blockCount * this.#options.blockTokens * this.#options.profile.kvBytesPerToken;
  }
}
