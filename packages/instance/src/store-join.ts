import { type Clock, Ending, type Logger, type Service, sleep } from '@tsukimi/base';

const joinMs = 2_000;
const lookPeriodMs = 20;

export interface StoreJoinOptions {
  readonly isReachable: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Lets an instance come up as a member of the store, so that its first requests find it. A store that
 * is not there holds nobody up for long: it is joined later, and until then everything is computed.
 */
export class StoreJoin implements Service {
  readonly name = 'store join';
  readonly #options: StoreJoinOptions;
  readonly #ending = new Ending();

  constructor(options: StoreJoinOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { isReachable, clock, logger } = this.#options;
    const untilMs = clock.monotonicMs() + joinMs;
    while (!isReachable()) {
      if (clock.monotonicMs() >= untilMs) {
        logger.warn('serve.store_absent', { waitedMs: joinMs });
        return;
      }
      await sleep(clock, lookPeriodMs);
    }
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#ending.stopped();
  }
}
