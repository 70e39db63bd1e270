import { assert, type Clock, deadline, type Logger, sleep } from '@tsukimi/base';
import type { TransferEngine } from '@tsukimi/transfer';
import type { LifeOutcome, LifeStep, StoreLife } from './core/store-life.ts';
import type { MasterLink } from './master-link.ts';
import type { Segments } from './segments.ts';

export interface LifeRunnerOptions {
  readonly life: StoreLife;
  readonly link: MasterLink;
  readonly segments: Segments;
  readonly engine: TransferEngine;
  /** Of each step. */
  readonly controlTimeoutMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Performs what the life cycle asks for. */
export class LifeRunner {
  readonly #options: LifeRunnerOptions;
  #wake = new AbortController();

  constructor(options: LifeRunnerOptions) {
    this.#options = options;
  }

  /** The life has taken a turn by itself: what it asked for before is cut short. */
  turn(): void {
    this.#wake.abort();
  }

  /** Resolves when the life has ended. */
  async run(): Promise<void> {
    const { clock, controlTimeoutMs, life } = this.#options;
    for (;;) {
      const step = life.next();
      if (step.act === 'end') return;
      this.#wake = new AbortController();
      if (step.delayMs > 0) await sleep(clock, step.delayMs, this.#wake.signal);
      if (!life.isCurrent(step)) continue;
      if (step.act === 'mount' || step.act === 'remount') await this.#published();
      // An unmount is what a stop waits for; everything else a turn cuts short.
      const parent = step.act === 'unmount' ? undefined : this.#wake.signal;
      using limit = deadline(clock, controlTimeoutMs, step.act, parent);
      life.settle(step, await this.#perform(step.act, limit.signal));
    }
  }

  /**
   * Peers should find the segments before they are sent to them. Without metadata they are mounted all
   * the same: this process reaches its own memory, and peers that knew it still do.
   */
  async #published(): Promise<void> {
    const { clock, controlTimeoutMs, engine, logger } = this.#options;
    using limit = deadline(clock, controlTimeoutMs, 'publication', this.#wake.signal);
    await engine.published(limit.signal).catch((error: unknown) => {
      logger.warn('store.segment_unpublished', { reason: String(error) });
    });
  }

  #perform(act: LifeStep['act'], signal: AbortSignal): Promise<LifeOutcome> {
    const { link, segments } = this.#options;
    switch (act) {
      case 'greet':
        return link.greet(signal);
      case 'ping':
        return link.ping(signal);
      case 'mount':
        return segments.mountAll(signal);
      case 'remount':
        return segments.remountAll(signal);
      case 'unmount':
        return segments.unmountAll(signal);
      case 'end':
        assert(false, 'an ended life asks for nothing');
    }
  }
}
