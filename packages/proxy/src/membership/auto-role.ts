import {
  type Clock,
  Ending,
  every,
  type Logger,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import type { InstancePool } from '../core/instance-pool.ts';
import { RoleBalance } from '../core/role-balance.ts';
import type { Membership } from './membership.ts';

export interface AutoRoleOptions {
  readonly pool: InstancePool;
  readonly membership: Membership;
  readonly clock: Clock;
  readonly logger: Logger;
}

const periodMs = 5_000;

/** Moves instances between prefill and decode as the load asks; what runs there goes on. */
export class AutoRole implements Service {
  readonly name = 'auto role';
  readonly #options: AutoRoleOptions;
  readonly #balance = new RoleBalance();
  readonly #ending = new Ending();
  #looking: Scheduled | null = null;

  constructor(options: AutoRoleOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#looking = every(this.#options.clock, periodMs, async () => this.look());
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#looking?.cancel();
    this.#ending.stopped();
  }

  /** One look, as the clock makes them. */
  look(): void {
    const { pool, membership, logger } = this.#options;
    const move = this.#balance.look([...pool.up('prefill'), ...pool.up('decode')]);
    if (move === null) return;
    const { instance, to } = move;
    try {
      membership.setKind([instance], to);
    } catch (error) {
      logger.warn('proxy.auto_role_failed', { instance: instance.address, reason: String(error) });
    }
  }
}
