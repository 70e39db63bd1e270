import {
  type Clock,
  Ending,
  Fault,
  type Logger,
  type Random,
  type Service,
  sleep,
} from '@tsukimi/base';
import type { LeaderBoard, MasterView } from '@tsukimi/metadata';
import type { AnswerGate } from '@tsukimi/rpc';
import type { Hono } from 'hono';
import { Journal } from '../journal/journal.ts';
import type { JournalDirectory } from '../journal/journal-directory.ts';
import { openJournalFile } from '../journal/journal-file.ts';
import { JournalFollower } from '../journal/journal-follower.ts';
import { bootId, trusted } from '../journal/journal-keeper.ts';
import type { Term } from '../term.ts';
import { JournalClaim } from './journal-claim.ts';
import { Lead } from './lead.ts';
import { LeadGate } from './lead-gate.ts';
import type { Role, RoleState } from './role.ts';
import { standbyApi } from './state-routes.ts';

export interface StandbyOptions {
  readonly openBoard: () => Promise<LeaderBoard>;
  /** Of our RPC server, as clients reach it. */
  readonly address: string;
  readonly ttlMs: number;
  /** The journal that the masters share; null: whoever takes over begins without objects. */
  readonly directory: JournalDirectory | null;
  readonly journalSyncPeriodMs: number;
  readonly snapshotByteCount: number;
  readonly assemble: (journal: Journal | null, gate: AnswerGate, role: () => Role) => Term;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** So often a standby reads what the leader wrote, and who the leader is. */
const followPeriodMs = 100;
const claimAttemptMs = 20;

/**
 * One of several masters: follows the leader's journal, and serves once it is the leader itself. A
 * standby does not listen on the RPC port, as in Mooncake: clients find the leader on the board.
 */
export class Standby implements Service {
  readonly name = 'standby (--enable_ha)';
  readonly #options: StandbyOptions;
  readonly #ending = new Ending();
  readonly #stop = new AbortController();
  readonly #standbyApi: Hono;
  #running: Promise<void> | null = null;
  #state: RoleState = 'starting';
  #leader: MasterView | null = null;
  #term: Term | null = null;
  #follower: JournalFollower | null = null;

  constructor(options: StandbyOptions) {
    this.#options = options;
    this.#standbyApi = standbyApi(
      () => this.role,
      () => this.#metrics(),
    );
  }

  get role(): Role {
    return { state: this.#state, leader: this.#leader };
  }

  /** What the admin server serves just now. */
  get api(): Hono {
    return this.#term !== null && this.#state === 'serving' ? this.#term.api : this.#standbyApi;
  }

  start(): Promise<void> {
    this.#options.directory?.create();
    this.#running = this.#run().then(
      () => this.#ending.stopped(),
      (error: unknown) => this.#ending.died(error),
    );
    return Promise.resolve();
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const board = await this.#options.openBoard();
    try {
      while (!this.#stop.signal.aborted) {
        await this.#waitForTurn(board);
        if (!this.#stop.signal.aborted) await this.#tryToLead(board);
      }
    } finally {
      this.#follower?.close();
      board.close();
    }
  }

  /** Follows until nobody leads. */
  async #waitForTurn(board: LeaderBoard): Promise<void> {
    const { clock, directory, logger } = this.#options;
    if (directory !== null) this.#follower ??= new JournalFollower(directory);
    let isBoardAway = false;
    while (!this.#stop.signal.aborted) {
      this.#follower?.catchUp();
      try {
        const leader = await board.read(this.#stop.signal);
        isBoardAway = false;
        this.#leader = leader;
        this.#state = leader === null ? 'candidate' : 'standby';
        if (leader === null) return;
      } catch (error) {
        this.#state = 'standby';
        if (!isBoardAway && !this.#stop.signal.aborted) {
          logger.warn('standby.board-away', { reason: (error as Error).message });
        }
        isBoardAway = true;
      }
      await sleep(clock, followPeriodMs, this.#stop.signal);
    }
  }

  async #tryToLead(board: LeaderBoard): Promise<void> {
    const { clock, address, logger, ttlMs } = this.#options;
    const askedMs = clock.monotonicMs();
    let view: MasterView | null = null;
    try {
      view = await board.campaign(address);
    } catch (error) {
      logger.warn('standby.election-failed', { reason: (error as Error).message });
    }
    if (view === null) {
      await sleep(clock, followPeriodMs, this.#stop.signal);
      return;
    }
    try {
      const claim = await this.#claim(view, askedMs + ttlMs);
      await this.#lead(new Lead({ ...this.#options, board, view, askedMs, claim }), claim);
    } catch (error) {
      // Whoever leads now has the journal; it is followed again.
      if (!Fault.has(error, 'CANCELLED')) throw error;
      logger.warn('standby.not-leading', { reason: (error as Error).message });
    } finally {
      this.#term = null;
      this.#leader = null;
      this.#state = 'standby';
      this.#follower?.close();
      this.#follower = null;
      await board.resign();
    }
  }

  /** Keeps whoever led before from writing any more. */
  async #claim(view: MasterView, untilMs: number): Promise<JournalClaim | null> {
    const { directory, clock } = this.#options;
    if (directory === null) return null;
    for (;;) {
      const claim = JournalClaim.take(directory.path, view.version);
      if (claim !== null) return claim;
      if (clock.monotonicMs() >= untilMs || this.#stop.signal.aborted) {
        throw new Fault(
          'MISCONFIGURED',
          `--journal-dir ${directory.path}: a master without --enable_ha uses it; stop that one or choose another directory`,
        );
      }
      await sleep(clock, claimAttemptMs, this.#stop.signal);
    }
  }

  async #lead(lead: Lead, claim: JournalClaim | null): Promise<void> {
    const { clock, logger, assemble } = this.#options;
    const startedMs = clock.monotonicMs();
    const until = AbortSignal.any([this.#stop.signal, lead.lost]);
    const kept = lead.keep(until);
    this.#leader = lead.view;
    this.#state = 'recovering';
    const journal = claim === null ? null : this.#newJournal(lead);
    const role = (): Role => ({ state: this.#state, leader: lead.view });
    const term = assemble(journal, journal ?? new LeadGate(lead), role);
    const objectCount = await this.#recover(term, journal, lead.lost);
    const services: Service[] = journal === null ? [...term.services] : [journal, ...term.services];
    const started: Service[] = [];
    try {
      for (const service of services) {
        await service.start();
        started.push(service);
      }
      this.#term = term;
      this.#state = 'serving';
      logger.info('master.leads', {
        version: lead.view.version,
        objects: objectCount,
        ms: Math.round(clock.monotonicMs() - startedMs),
      });
      await Promise.race([kept, ...started.map((service) => service.ended())]);
    } finally {
      this.#state = 'standby';
      // Whoever lost the lead owes nobody an answer; whoever leaves in order does.
      const deadline = lead.lost.aborted ? AbortSignal.abort() : AbortSignal.any([lead.lost]);
      for (const service of started.reverse()) await service.stop(deadline);
    }
  }

  #newJournal(lead: Lead): Journal {
    const { directory, journalSyncPeriodMs, snapshotByteCount } = this.#options;
    const { clock, random, logger } = this.#options;
    return new Journal({
      ...{ directory: directory as JournalDirectory, open: openJournalFile, bootId: bootId() },
      ...{ syncPeriodMs: journalSyncPeriodMs, snapshotByteCount, fence: lead },
      ...{ clock, random, logger },
    });
  }

  /** How many objects the new leader begins with. */
  async #recover({ core }: Term, journal: Journal | null, lost: AbortSignal): Promise<number> {
    const follower = this.#follower;
    if (journal === null || follower === null) return 0;
    const end = trusted(follower.finish(), bootId(), this.#options.logger);
    for (const _ of core.restoring(end.image)) {
      // The lead is to be renewed meanwhile.
      await sleep(this.#options.clock, 0);
      if (lost.aborted) throw new Fault('CANCELLED', 'the lead was lost while recovering');
    }
    journal.begin(end, () => core.image());
    return core.objectCount;
  }

  #metrics(): string {
    const { image } = this.#follower ?? { image: null };
    return [
      '# TYPE ha_standby_state gauge',
      `ha_standby_state ${this.#state === 'standby' ? 1 : 0}`,
      '# TYPE tsukimi_standby_objects gauge',
      `tsukimi_standby_objects ${image?.objectCount ?? 0}`,
      '',
    ].join('\n');
  }
}
