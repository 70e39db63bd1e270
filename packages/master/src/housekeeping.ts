import {
  type Clock,
  Ending,
  every,
  type Logger,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import type { MasterCore } from './core/master-core.ts';

const sweepPeriodMs = 1_000;
const evictionPeriodMs = 10;
const drainPeriodMs = 500;
/** So late at most does a sweep judge who was silent. */
const sweepLatenessMaxMs = 2_000;

/** Drives the core's time: sweeps once a second, drains twice, evicts while there is something to evict. */
export class Housekeeping implements Service {
  readonly name = 'master housekeeping';
  readonly #core: MasterCore;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #engineLost: (name: string) => void;
  readonly #ending = new Ending();
  readonly #gracePeriods = new Set<Scheduled>();
  #sweeping: Scheduled | null = null;
  #evicting: Scheduled | null = null;
  #draining: Scheduled | null = null;
  #isRunning = false;
  #sweepDueMs = 0;
  #hasDeferred = false;

  /** `engineLost` hears of the transfer engines whose client has fallen silent. */
  constructor(
    core: MasterCore,
    clock: Clock,
    logger: Logger,
    engineLost: (name: string) => void = () => {},
  ) {
    this.#core = core;
    this.#clock = clock;
    this.#logger = logger;
    this.#engineLost = engineLost;
  }

  start(): Promise<void> {
    this.#isRunning = true;
    this.#sweepDueMs = this.#clock.monotonicMs() + sweepPeriodMs;
    this.#sweeping = every(this.#clock, sweepPeriodMs, () => {
      if (!this.#wasHeldUp()) this.#guarded(() => this.#sweep());
    });
    this.#draining = every(this.#clock, drainPeriodMs, () =>
      this.#guarded(() => this.#core.drains.step()),
    );
    return Promise.resolve();
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  stop(): Promise<void> {
    this.#isRunning = false;
    this.#sweeping?.cancel();
    this.#draining?.cancel();
    this.#evicting?.cancel();
    this.#evicting = null;
    for (const scheduled of this.#gracePeriods) scheduled.cancel();
    this.#gracePeriods.clear();
    this.#ending.stopped();
    return Promise.resolve();
  }

  /** Space was taken: begins to evict if the core wants to. */
  evictSoon(): void {
    if (this.#evicting !== null || !this.#isRunning || !this.#core.isEvictionDue) return;
    this.#evicting = this.#clock.schedule(evictionPeriodMs, () => {
      this.#evicting = null;
      this.#guarded(() => {
        const count = this.#core.evict();
        if (count > 0) this.#logger.info('master.evicted', { objects: count });
        this.evictSoon();
      });
    });
  }

  /** Sweeps when a short grace period ends; longer ones end with one of the regular sweeps. */
  sweepAfter(delayMs: number): void {
    if (!this.#isRunning || delayMs >= sweepPeriodMs) return;
    const scheduled = this.#clock.schedule(delayMs, () => {
      this.#gracePeriods.delete(scheduled);
      this.#guarded(() => this.#sweep());
    });
    this.#gracePeriods.add(scheduled);
  }

  /**
   * Whether this process has been standing still, stopped or busy: the pings of all that time wait in its
   * sockets, and are to be heard before anybody is taken for silent. Puts a sweep off once, not for ever.
   */
  #wasHeldUp(): boolean {
    const nowMs = this.#clock.monotonicMs();
    const latenessMs = nowMs - this.#sweepDueMs;
    this.#sweepDueMs = nowMs + sweepPeriodMs;
    this.#hasDeferred = latenessMs > sweepLatenessMaxMs && !this.#hasDeferred;
    if (this.#hasDeferred) this.#logger.warn('master.held-up', { ms: Math.round(latenessMs) });
    return this.#hasDeferred;
  }

  #sweep(): void {
    const { expiredClients, reclaimedWriteCount, unmountedSegmentCount } = this.#core.sweep();
    for (const { id, segmentCount, engineNames } of expiredClients) {
      this.#logger.warn('master.client-expired', { client: id, segments: segmentCount });
      for (const name of engineNames) this.#engineLost(name);
    }
    if (reclaimedWriteCount > 0) {
      this.#logger.info('master.unfinished-puts-reclaimed', { puts: reclaimedWriteCount });
    }
    if (unmountedSegmentCount > 0) {
      this.#logger.info('master.segments-unmounted', { segments: unmountedSegmentCount });
    }
    this.evictSoon();
  }

  /** A core that breaks its promises must not go on deciding. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#ending.died(error);
    }
  }
}
