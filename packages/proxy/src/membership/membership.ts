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
  /** What the file of instances said last, by `entryName`. */
  #listed: ReadonlyMap<string, ListedInstance> = new Map();
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
   * The file of instances says so now. Only what it says otherwise than before is done: who is new joins,
   * who is gone drains, who is in the other list changes sides. What was done since to one whose entry
   * is the same stays done; who came in another way stays as it is.
   */
  follow(listed: readonly ListedInstance[]): void {
    const { pool, deadlines } = this.#options;
    const before = this.#listed;
    const now = new Map(listed.map((one) => [entryName(one), one]));
    this.#listed = now;
    const gone = new Set<PoolInstance>();
    for (const [name, entry] of before) {
      const instance = now.has(name) ? undefined : this.#broughtBy(entry);
      if (instance !== undefined) gone.add(instance);
    }
    for (const [name, { kind, endpoint }] of now) {
      if (before.has(name)) continue;
      const there = this.find(formatAddress(endpoint));
      const same = there.find((one) => one.kind === kind) ?? there.find((one) => gone.has(one));
      if (same === undefined) this.#joinFromFile(kind, endpoint);
      else if (this.sourceOf(same) !== 'file') continue;
      else if (entryName({ kind, endpoint: same.endpoint }) === name) {
        gone.delete(same);
        this.keep(same);
        this.#moveFromFile(same, kind);
      } else {
        // It is reached, or hands over, in another way now: what it has is not waited for.
        gone.delete(same);
        pool.remove(same);
        this.#joinFromFile(kind, endpoint);
      }
    }
    for (const instance of gone) if (!instance.draining) this.#drain(instance, deadlines.drainMs);
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

  /** It may have changed sides since. */
  #broughtBy({ kind, endpoint }: ListedInstance): PoolInstance | undefined {
    const ours = this.find(formatAddress(endpoint)).filter((one) => this.sourceOf(one) === 'file');
    const isListed = (one: PoolInstance) => this.#listed.has(entryName(one));
    return ours.find((one) => one.kind === kind) ?? ours.find((one) => !isListed(one));
  }

  #joinFromFile(kind: InstanceKind, endpoint: Endpoint): void {
    if (!this.#started) {
      this.join(kind, endpoint, 'file');
      return;
    }
    this.add(kind, endpoint, 'file').catch((error: unknown) => {
      this.#options.logger.error('proxy.instance_refused', { kind, reason: String(error) });
    });
  }

  #moveFromFile(instance: PoolInstance, kind: InstanceKind): void {
    try {
      this.setKind([instance], kind);
    } catch (error) {
      this.#options.logger.error('proxy.instance_refused', { kind, reason: String(error) });
    }
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

function entryName({ kind, endpoint }: ListedInstance): string {
  return `${kind} ${originOf(endpoint)} ${JSON.stringify(endpoint.pd ?? null)}`;
}
