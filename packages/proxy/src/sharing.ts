import { type Clock, Ending, every, type Scheduled, type Service } from '@tsukimi/base';
import type { ClientKeys, KeyUses } from './core/client-keys.ts';
import type { InstancePool } from './core/instance-pool.ts';
import { loadOf } from './core/policies/policy.ts';
import type { InstanceKind, PoolInstance } from './core/pool-instance.ts';
import type { InstanceWatch } from './membership/instance-watch.ts';
import type { KnownMembers, Membership } from './membership/membership.ts';
import type { Peers } from './peers.ts';

export interface SharingOptions {
  readonly peers: Peers;
  readonly clock: Clock;
  readonly pool: InstancePool;
  readonly keys: ClientKeys;
  readonly membership: Membership;
  readonly watch: InstanceWatch;
}

/** What one worker has, as of the moment it tells. */
interface Share {
  readonly from: number;
  readonly uses: KeyUses;
  readonly instances: readonly InstanceShare[];
}

interface InstanceShare {
  readonly kind: InstanceKind;
  readonly address: string;
  /** See `loadOf`. */
  readonly tokenCount: number;
  /** How much longer its breaker is open; 0 while it is not. */
  readonly openMs: number;
}

const periodMs = 200;
/** A worker that was silent for this long has died, and what it had with it. */
const silentMs = 2_000;

/**
 * Keeps the workers of one proxy roughly of one mind. Several times a second each tells how much it has
 * sent to every instance, which breakers are open, and what every key has used; who is in the pool is
 * asked once, at the start. Between two tellings each knows only its own, so limits can be
 * exceeded by what comes to the others meanwhile.
 */
export class Sharing implements Service {
  readonly name = 'sharing';
  readonly #options: SharingOptions;
  readonly #ending = new Ending();
  readonly #shares = new Map<number, { readonly share: Share; readonly atMs: number }>();
  #telling: Scheduled | null = null;

  constructor(options: SharingOptions) {
    this.#options = options;
    const { peers, membership, pool, watch } = options;
    peers.onAsked('membership', () => membership.known());
    peers.onTold('shares', (value) => this.#take(value as Share));
    peers.onTold('suspect', (value) => {
      const { kind, address } = value as InstanceShare;
      const instance = pool.find(kind, address);
      if (instance !== null) watch.suspect(instance);
    });
  }

  async start(): Promise<void> {
    const { peers, membership, clock } = this.#options;
    const [known] = await peers.ask('membership');
    // One that starts anew has missed who came and left.
    if (known != null) membership.adopt(known as KnownMembers);
    if (peers.workerCount > 1) this.#telling = every(clock, periodMs, () => this.#tell());
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#telling?.cancel();
    this.#ending.stopped();
  }

  /** An attempt found nobody there: the others need not find out by requests of theirs. */
  suspect({ kind, address }: PoolInstance): void {
    this.#options.peers.tell('suspect', { kind, address });
  }

  #tell(): void {
    const { peers, pool, keys, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const share: Share = {
      from: peers.id,
      uses: keys.usesSinceLast(),
      instances: pool.instances
        .map((one) => ({
          kind: one.kind,
          address: one.address,
          tokenCount: loadOf(one) - one.elsewhereTokenCount,
          openMs: pool.breakerOpenMs(one),
        }))
        .filter(({ tokenCount, openMs }) => tokenCount > 0 || openMs > 0),
    };
    peers.tell('shares', share);
    let silent = false;
    for (const [from, { atMs }] of this.#shares) {
      if (nowMs - atMs < silentMs) continue;
      this.#shares.delete(from);
      keys.forgetElsewhere(from);
      silent = true;
    }
    if (silent) this.#count();
  }

  #take(share: Share): void {
    const { pool, keys, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    this.#shares.set(share.from, { share, atMs: nowMs });
    keys.usedElsewhere(share.from, share.uses, nowMs);
    for (const { kind, address, openMs } of share.instances) {
      const instance = openMs > 0 ? pool.find(kind, address) : null;
      if (instance !== null) pool.openedElsewhere(instance, openMs);
    }
    this.#count();
  }

  #count(): void {
    const { pool } = this.#options;
    const counts = new Map<PoolInstance, number>();
    for (const { share } of this.#shares.values()) {
      for (const { kind, address, tokenCount } of share.instances) {
        const instance = pool.find(kind, address);
        if (instance !== null) counts.set(instance, (counts.get(instance) ?? 0) + tokenCount);
      }
    }
    for (const one of pool.instances) pool.setElsewhere(one, counts.get(one) ?? 0);
  }
}
