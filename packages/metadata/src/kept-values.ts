import type { Clock, Logger, Scheduled } from '@tsukimi/base';

/** Own keys live this long after the last sign of life of their process. */
export const keptSeconds = 30;
const keepPeriodMs = 5_000;
const failingPeriodMs = 500;

/**
 * The values a process has put and must keep alive: the backend forgets them some time after the process
 * has died. What it forgot meanwhile, in an outage or a restart without its data, is put again.
 */
export class KeptValues {
  readonly #values = new Map<string, string>();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #refresh: (values: ReadonlyMap<string, string>) => Promise<void>;
  #next: Scheduled;
  #isFailing = false;
  #isStopped = false;
  #underWay: Promise<void> | null = null;

  /** `refresh` extends the life of all values, and may call `drop` for one that others have replaced. */
  constructor(
    clock: Clock,
    logger: Logger,
    refresh: (values: ReadonlyMap<string, string>) => Promise<void>,
  ) {
    this.#clock = clock;
    this.#logger = logger;
    this.#refresh = refresh;
    this.#next = clock.schedule(keepPeriodMs, () => void this.beat());
  }

  keep(key: string, value: string): void {
    this.#values.set(key, value);
  }

  drop(key: string): void {
    this.#values.delete(key);
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** Extends all lives now; those who ask meanwhile share one round. Never rejects. */
  beat(): Promise<void> {
    this.#underWay ??= this.#round().finally(() => {
      this.#underWay = null;
      if (this.#isStopped) return;
      this.#next.cancel();
      const pauseMs = this.#isFailing ? failingPeriodMs : keepPeriodMs;
      this.#next = this.#clock.schedule(pauseMs, () => void this.beat());
    });
    return this.#underWay;
  }

  stop(): void {
    this.#isStopped = true;
    this.#next.cancel();
    this.#values.clear();
  }

  async #round(): Promise<void> {
    if (this.#values.size === 0) return;
    try {
      await this.#refresh(this.#values);
      if (this.#isFailing) this.#logger.info('metadata.kept-again');
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        this.#logger.warn('metadata.not-kept', {
          reason: error instanceof Error ? error.message : String(error),
        });
      }
      this.#isFailing = true;
    }
  }
}
