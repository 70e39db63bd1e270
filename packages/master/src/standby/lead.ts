import { type Clock, type Logger, sleep } from '@tsukimi/base';
import type { LeaderBoard, MasterView } from '@tsukimi/metadata';
import type { Fence } from '../journal/journal.ts';
import type { JournalClaim } from './journal-claim.ts';

export interface LeadOptions {
  readonly board: LeaderBoard;
  readonly view: MasterView;
  /** When the election was asked for: the lead lasts from then on, at the least. */
  readonly askedMs: number;
  readonly ttlMs: number;
  /** Null without a journal that the others share. */
  readonly claim: JournalClaim | null;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Answers leave after they were allowed to; this is more time than that takes. */
const marginMs = 500;
const retryMs = 200;

/**
 * The lead of one master, from an election until somebody else may lead. While the board confirms it in
 * time, nobody else can; while the board does not answer, nobody else has as long as nobody claimed the
 * journal. So a board that is away stops no traffic, and a master that was replaced answers nothing more.
 */
export class Lead implements Fence {
  readonly #options: LeadOptions;
  readonly #lost = new AbortController();
  #view: MasterView;
  #validUntilMs: number;

  constructor(options: LeadOptions) {
    this.#options = options;
    this.#view = options.view;
    this.#validUntilMs = options.askedMs + options.ttlMs;
  }

  get view(): MasterView {
    return this.#view;
  }

  /** Fires when this master must not serve any more. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get isCertain(): boolean {
    return (
      this.#options.clock.monotonicMs() < this.#validUntilMs - marginMs &&
      !this.#lost.signal.aborted
    );
  }

  /** Without the board's word, the journal's claim decides. */
  guard(act: () => void): 'done' | 'busy' | 'lost' {
    if (this.#lost.signal.aborted) return 'lost';
    const outcome = this.#options.claim?.whileOurs(act) ?? 'lost';
    if (outcome === 'lost') this.#lose('another master has claimed the journal, or may have');
    return outcome;
  }

  /** Renews the lead until it is lost or `until` fires. */
  async keep(until: AbortSignal): Promise<void> {
    const { clock, ttlMs } = this.#options;
    const ending = AbortSignal.any([until, this.#lost.signal]);
    let pauseMs = ttlMs / 3;
    while (!ending.aborted) {
      await sleep(clock, pauseMs, ending);
      if (ending.aborted) return;
      pauseMs = (await this.#renew()) ? ttlMs / 3 : retryMs;
      if (!this.isCertain && this.#options.claim === null) {
        this.#lose('the lead could not be renewed in time');
      }
    }
  }

  /** Whether the board answered. */
  async #renew(): Promise<boolean> {
    const { board, clock, ttlMs, logger, claim } = this.#options;
    const askedMs = clock.monotonicMs();
    const wasCertain = this.isCertain;
    try {
      if (await board.renew()) {
        this.#validUntilMs = askedMs + ttlMs;
        return true;
      }
      if (claim === null) {
        this.#lose('somebody else may lead');
        return true;
      }
      // The board forgot us: it was away for longer than the lead lasts, or was begun anew.
      const view = await board.campaign(this.#view.address);
      if (view === null) {
        this.#lose('somebody else leads');
        return true;
      }
      const moved = claim.move(view.version);
      if (moved === 'lost') this.#lose('another master has claimed the journal');
      if (moved !== 'done') {
        await board.resign();
        return true;
      }
      this.#view = view;
      this.#validUntilMs = askedMs + ttlMs;
      logger.warn('master.lead-taken-again', { version: view.version });
      return true;
    } catch (error) {
      if (wasCertain) {
        logger.warn('master.lead-not-renewed', { reason: (error as Error).message });
      }
      return false;
    }
  }

  #lose(reason: string): void {
    if (this.#lost.signal.aborted) return;
    this.#options.logger.warn('master.lead-lost', { reason });
    this.#lost.abort();
  }
}
