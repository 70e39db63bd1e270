import {
  type Clock,
  Ending,
  Fault,
  formatAddress,
  type Logger,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import { fitsKind, type Identity, mismatchReason, servesModel } from '../core/identity.ts';
import type { InstancePool } from '../core/instance-pool.ts';
import {
  type Endpoint,
  type InstanceKind,
  originOf,
  type PoolInstance,
} from '../core/pool-instance.ts';
import { type Deadlines, limits } from '../deadlines.ts';
import type { ListedInstance } from './instance-list.ts';
import type { InstanceWatch } from './instance-watch.ts';

/** Who brought an instance in, and hence who may take it out by silence. */
export type Source = 'flags' | 'file' | 'admin' | 'registration';

export interface MembershipOptions {
  readonly pool: InstancePool;
  readonly watch: Pick<InstanceWatch, 'watch' | 'identify'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly deadlines: Deadlines;
}

/** Who is in the pool and who may not come back, as one worker of a proxy tells another. */
export interface KnownMembers {
  readonly members: readonly KnownMember[];
  /** Addresses, and the engines that an operator took out there. */
  readonly dismissed: readonly (readonly [address: string, engineId: string | null])[];
}

interface KnownMember {
  readonly kind: InstanceKind;
  readonly endpoint: Endpoint;
  readonly source: Source;
  readonly draining: boolean;
}

/** Until an instance that registered with others must have spoken again. */
const adoptedTtlMs = 60_000;

interface Entry {
  readonly source: Source;
  /** Runs out when a registered instance is silent. */
  lease: Scheduled | null;
  drainLimit: Scheduled | null;
  /** It drains since it is silent, and stays if it speaks again. */
  silent: boolean;
}

/**
 * How instances come and go while the proxy runs: by an operator's word, or by registering
 * themselves. Whatever goes leaves through the pool, which tells all who keep something of it.
 */
export class Membership implements Service {
  readonly name = 'membership';
  readonly #options: MembershipOptions;
  readonly #entries = new Map<PoolInstance, Entry>();
  /** What an operator took out: the engine that registers itself is not let in again by that alone. */
  readonly #dismissed = new Map<string, string | null>();
  readonly #ending = new Ending();
  #started = false;
  #stopped = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#started = true;
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const entry of this.#entries.values()) {
      entry.lease?.cancel();
      entry.drainLimit?.cancel();
    }
    this.#entries.clear();
    this.#ending.stopped();
  }

  sourceOf(instance: PoolInstance): Source {
    return this.#entries.get(instance)?.source ?? 'flags';
  }

  /** Puts it into the pool without a word to it. Faults: `ALREADY_EXISTS`, `OVERLOADED`. */
  join(kind: InstanceKind, endpoint: Endpoint, source: Source): PoolInstance {
    const { pool } = this.#options;
    const instance = pool.add(kind, endpoint);
    this.#entries.set(instance, { source, lease: null, drainLimit: null, silent: false });
    this.#dismissed.delete(instance.address);
    return instance;
  }

  /**
   * The file of instances says so now: who is new joins, who is gone from it drains. Who came in another
   * way stays as it is.
   */
  follow(listed: readonly ListedInstance[]): void {
    const { pool, deadlines, logger } = this.#options;
    const nameOf = ({ kind, endpoint }: ListedInstance) =>
      `${kind} ${formatAddress(endpoint)} ${JSON.stringify(endpoint.pd ?? null)}`;
    const wanted = new Map(listed.map((one) => [nameOf(one), one]));
    for (const instance of pool.instances) {
      if (this.#entries.get(instance)?.source !== 'file') continue;
      const name = nameOf(instance);
      if (wanted.has(name)) this.keep(instance);
      else if (!instance.draining) this.#drain(instance, deadlines.drainMs);
      wanted.delete(name);
    }
    for (const { kind, endpoint } of wanted.values()) {
      // One that only hands over in another way now is not waited for.
      for (const before of this.find(formatAddress(endpoint), kind)) {
        if (this.#entries.get(before)?.source === 'file') pool.remove(before);
      }
      if (this.find(formatAddress(endpoint), kind).length > 0) continue;
      if (!this.#started) this.join(kind, endpoint, 'file');
      else {
        this.add(kind, endpoint, 'file').catch((error: unknown) => {
          logger.error('proxy.instance_refused', { kind, reason: String(error) });
        });
      }
    }
  }

  /** `join`, then a first probe. Resolves whatever it said. */
  async add(kind: InstanceKind, endpoint: Endpoint, source: Source): Promise<PoolInstance> {
    const instance = this.join(kind, endpoint, source);
    this.#options.logger.info('proxy.instance_joined', {
      kind,
      instance: instance.address,
      source,
    });
    await this.#options.watch.watch(instance);
    return instance;
  }

  /** Whether it drained and now stays. */
  keep(instance: PoolInstance): boolean {
    if (!instance.draining) return false;
    const entry = this.#entries.get(instance);
    entry?.drainLimit?.cancel();
    if (entry !== undefined) {
      entry.drainLimit = null;
      entry.silent = false;
    }
    this.#options.pool.keep(instance);
    return true;
  }

  /** It leaves at once: what runs there is continued elsewhere. */
  remove(instance: PoolInstance): void {
    this.#dismiss(instance);
    this.#options.pool.remove(instance);
  }

  /** It leaves once it has finished what it has, after `withinMs` at the latest. */
  drain(instance: PoolInstance, withinMs: number): void {
    this.#dismiss(instance);
    this.#drain(instance, withinMs);
  }

  /** Moves all or none. Throws `INVALID_ARGUMENT` where the configuration of one rules it out. */
  setKind(instances: readonly PoolInstance[], kind: InstanceKind): void {
    for (const { identity, address } of instances) {
      if (identity !== null && !fitsKind(identity, kind)) {
        const reason = `${address} has kv_role ${identity.kvRole}; start it as kv_both`;
        throw new Fault('INVALID_ARGUMENT', reason);
      }
    }
    for (const instance of instances) this.#options.pool.setKind(instance, kind);
  }

  /** Those at this address: of `kind`, or of both. */
  find(address: string, kind?: InstanceKind): PoolInstance[] {
    return this.#options.pool.instances.filter(
      (one) => one.address === address && (kind === undefined || one.kind === kind),
    );
  }

  /**
   * An instance says that it is there, and will again within `ttlMs`. Gives the instance, and whether it
   * is new. Faults: `UNAUTHORIZED` when an operator has taken this engine out; `MISCONFIGURED` when it
   * cannot be used, with the reason; those of `add`.
   */
  async register(
    kind: InstanceKind,
    endpoint: Endpoint,
    ttlMs: number,
  ): Promise<{ readonly instance: PoolInstance; readonly joined: boolean }> {
    const address = formatAddress(endpoint);
    const known = this.find(address)[0] ?? null;
    if (known !== null) {
      this.#renew(known, ttlMs);
      return { instance: known, joined: false };
    }
    const dismissed = this.#dismissed.get(address);
    const identity = await this.check(kind, endpoint);
    if (dismissed !== undefined && (dismissed === null || dismissed === identity.engineId)) {
      throw new Fault('UNAUTHORIZED', 'an operator has removed this instance');
    }
    if (!fitsKind(identity, kind)) {
      throw new Fault('MISCONFIGURED', `it has kv_role ${identity.kvRole}`);
    }
    const instance = await this.add(kind, endpoint, 'registration');
    this.#renew(instance, ttlMs);
    return { instance, joined: true };
  }

  /** Who answers there, if it can be used. Faults: `MISCONFIGURED`, `PEER_UNREACHABLE`. */
  async check(kind: InstanceKind, endpoint: Endpoint): Promise<Identity> {
    const { watch, pool } = this.#options;
    const identity = await watch.identify({ origin: originOf(endpoint), endpoint, kind });
    if (servesModel(identity.modelIds, pool.model)) return identity;
    throw new Fault(
      'MISCONFIGURED',
      `${formatAddress(endpoint)} ${mismatchReason(identity.modelIds, pool.model)}`,
    );
  }

  known(): KnownMembers {
    const members = this.#options.pool.instances.map((one) => ({
      kind: one.kind,
      endpoint: one.endpoint,
      source: this.sourceOf(one),
      draining: one.draining,
    }));
    return { members, dismissed: [...this.#dismissed] };
  }

  /** Makes the pool what another worker knows it to be. */
  adopt({ members, dismissed }: KnownMembers): void {
    const { pool, deadlines } = this.#options;
    const isKnown = ({ kind, address }: PoolInstance) =>
      members.some((one) => one.kind === kind && formatAddress(one.endpoint) === address);
    for (const instance of pool.instances) if (!isKnown(instance)) pool.remove(instance);
    for (const { kind, endpoint, source, draining } of members) {
      const instance =
        pool.find(kind, formatAddress(endpoint)) ?? this.join(kind, endpoint, source);
      this.#renew(instance, adoptedTtlMs);
      if (draining) this.#drain(instance, deadlines.drainMs);
    }
    for (const [address, engineId] of dismissed) this.#dismissed.set(address, engineId);
  }

  /** What is known of one that has left is of no use any more. */
  left(instance: PoolInstance): void {
    const entry = this.#entries.get(instance);
    entry?.lease?.cancel();
    entry?.drainLimit?.cancel();
    this.#entries.delete(instance);
  }

  #renew(instance: PoolInstance, ttlMs: number): void {
    const entry = this.#entries.get(instance);
    // What an operator has put in stays, whether or not it also registers itself.
    if (this.#stopped || entry?.source !== 'registration') return;
    if (entry.silent) this.keep(instance);
    entry.lease?.cancel();
    entry.lease = this.#options.clock.schedule(ttlMs, () => {
      entry.silent = !instance.draining;
      this.#options.logger.warn('proxy.instance_silent', { instance: instance.address });
      this.#drain(instance, this.#options.deadlines.drainMs);
    });
  }

  #drain(instance: PoolInstance, withinMs: number): void {
    const { pool, clock, logger } = this.#options;
    const entry = this.#entries.get(instance);
    if (entry === undefined || this.#stopped) return;
    entry.drainLimit?.cancel();
    entry.drainLimit = clock.schedule(withinMs, () => {
      logger.warn('proxy.drain_cut', {
        instance: instance.address,
        requests: instance.activeRequestCount,
      });
      pool.remove(instance);
    });
    pool.drain(instance);
  }

  #dismiss(instance: PoolInstance): void {
    this.#dismissed.delete(instance.address);
    this.#dismissed.set(instance.address, instance.identity?.engineId ?? null);
    for (const address of this.#dismissed.keys()) {
      if (this.#dismissed.size <= limits.instanceCountMax) break;
      this.#dismissed.delete(address);
    }
  }
}
