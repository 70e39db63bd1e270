import { type Address, assert, Fault, formatAddress, type Random } from '@tsukimi/base';
import { Assignment, InstanceLoad } from './instance-load.ts';
import {
  type Candidate,
  noFacts,
  type Policy,
  type RequestFacts,
  type Snapshot,
  type Work,
} from './policies/policy.ts';

export type InstanceKind = 'prefill' | 'decode';

/** What an instance told about itself. */
export interface Identity {
  /** Every id that its `/v1/models` lists. */
  readonly modelIds: readonly string[];
  /** The entries of its `/v1/models`, as they came. */
  readonly models: readonly unknown[];
  /** It answers `/tsukimi/instance`: token ids, resuming and our own fields are understood. */
  readonly ours: boolean;
  /** Of weights and cache layout; only instances of ours tell. */
  readonly fingerprint: string | null;
  readonly tensorParallelSize: number | null;
}

export type InstanceState =
  | { readonly name: 'unknown' }
  | { readonly name: 'up' }
  | { readonly name: 'down'; readonly reason: string }
  /** It answers, but serves another model than the proxy was started for. Never used. */
  | { readonly name: 'mismatch'; readonly reason: string };

/** Why an attempt at an instance failed. */
export type FailureReason = 'connect' | 'reset' | 'timeout' | 'status' | 'malformed';

/** Read-only for everybody but the pool. */
export interface PoolInstance extends Candidate {
  readonly kind: InstanceKind;
  readonly address: string;
  readonly endpoint: Address;
  readonly state: InstanceState;
  readonly identity: Identity | null;
  readonly requestCount: number;
  readonly failureCount: number;
}

class Member extends InstanceLoad implements PoolInstance {
  readonly kind: InstanceKind;
  readonly address: string;
  readonly endpoint: Address;
  state: InstanceState = { name: 'unknown' };
  identity: Identity | null = null;
  requestCount = 0;
  failureCount = 0;
  failedProbeCount = 0;

  constructor(kind: InstanceKind, endpoint: Address, order: number) {
    super(order);
    this.kind = kind;
    this.endpoint = endpoint;
    this.address = formatAddress(endpoint);
  }
}

export interface InstancePoolOptions {
  /** The id that instances must serve. */
  readonly model: string;
  readonly policies: Readonly<Record<InstanceKind, Policy>>;
  readonly random: Random;
  readonly instanceCountMax: number;
  /** Told of every change of an instance's state. */
  readonly onChange?: (instance: PoolInstance, before: InstanceState) => void;
}

/** Failed probes in a row after which an instance counts as down. */
const failedProbeCountMax = 2;

/**
 * Knows all instances: which are up, what they serve, how much they have to do. Synchronous; time and
 * sockets are outside.
 */
export class InstancePool {
  readonly #options: InstancePoolOptions;
  readonly #members: Member[] = [];
  readonly #up: Record<InstanceKind, readonly Member[]> = { prefill: [], decode: [] };
  /** Filled anew for every choice, so that none makes garbage. */
  readonly #snapshot: { -readonly [K in keyof Snapshot<Member>]: Snapshot<Member>[K] } = {
    work: 'whole',
    request: noFacts,
    candidates: [],
    hitTokenCounts: [],
    chance: 0,
  };
  #joinedCount = 0;
  #turn = 0;
  #assignmentCount = 0;

  constructor(options: InstancePoolOptions) {
    this.#options = options;
  }

  get instances(): readonly PoolInstance[] {
    return this.#members;
  }

  get model(): string {
    return this.#options.model;
  }

  /** Those that may be used, in the order they joined. */
  up(kind: InstanceKind): readonly PoolInstance[] {
    return this.#up[kind];
  }

  find(kind: InstanceKind, address: string): PoolInstance | null {
    return this.#members.find((one) => one.kind === kind && one.address === address) ?? null;
  }

  /** Throws `ALREADY_EXISTS` for a second one of the same kind and address, `OVERLOADED` when full. */
  add(kind: InstanceKind, endpoint: Address): PoolInstance {
    const member = new Member(kind, endpoint, this.#joinedCount);
    if (this.find(kind, member.address) !== null) {
      throw new Fault('ALREADY_EXISTS', `${member.address} is a ${kind} instance already`);
    }
    if (this.#members.length >= this.#options.instanceCountMax) {
      throw new Fault('OVERLOADED', `there are ${this.#members.length} instances already`);
    }
    this.#members.push(member);
    this.#joinedCount += 1;
    return member;
  }

  /**
   * Sends work to one of `candidates`, by the policy of its leg, and counts it there at once. Every
   * assignment is given to `release` when it is over.
   */
  assign(
    work: Work,
    candidates: readonly PoolInstance[],
    request: RequestFacts,
    nowMs: number,
  ): Assignment<PoolInstance> {
    const { policies, random } = this.#options;
    const policy = policies[work === 'prefill' ? 'prefill' : 'decode'];
    const snapshot = this.#snapshot;
    snapshot.work = work;
    snapshot.request = request;
    snapshot.candidates = candidates as readonly Member[];
    if (policy.reads.includes('chance')) snapshot.chance = random.uint32() / 2 ** 32;
    const choice = policy.choose(snapshot);
    const member = choice.instance;
    this.#turn += 1;
    member.lastTurn = this.#turn;
    member.requestCount += 1;
    this.#assignmentCount += 1;
    return new Assignment(member, work, request, choice, nowMs);
  }

  /**
   * The attempt is over. `failure` is null when the instance is not to blame: it answered, or the
   * client left. `outputTokenCount` is what came of a stream; 0 when not known.
   */
  release(
    assignment: Assignment<PoolInstance>,
    failure: { readonly reason: FailureReason; readonly message: string } | null,
    nowMs: number,
    outputTokenCount: number,
  ): void {
    const member = assignment.instance as Member;
    assignment.ended(nowMs, outputTokenCount);
    this.#assignmentCount -= 1;
    if (failure === null) return;
    member.failureCount += 1;
    // Nobody listens there: it need not fail for others first. The next good probe brings it back.
    if (failure.reason === 'connect' && member.state.name === 'up') {
      this.#change(member, { name: 'down', reason: failure.message });
    }
  }

  /** Bytes of an answer came: it lives, whatever a probe that was late thinks. */
  showedLife(instance: PoolInstance): void {
    (instance as Member).failedProbeCount = 0;
  }

  /** The instance told who it is. Up if it serves the model, else a mismatch. */
  identified(instance: PoolInstance, identity: Identity): void {
    const member = instance as Member;
    member.identity = identity;
    member.failedProbeCount = 0;
    this.#change(
      member,
      servesModel(identity.modelIds, this.#options.model)
        ? { name: 'up' }
        : { name: 'mismatch', reason: mismatchReason(identity.modelIds, this.#options.model) },
    );
  }

  /** A probe of an instance that is up found it well. */
  probeSucceeded(instance: PoolInstance): void {
    (instance as Member).failedProbeCount = 0;
  }

  probeFailed(instance: PoolInstance, reason: string): void {
    const member = instance as Member;
    member.failedProbeCount += 1;
    if (member.state.name === 'up' && member.failedProbeCount < failedProbeCountMax) return;
    this.#change(member, { name: 'down', reason });
  }

  /** What an operator should know: instances that can never share KVCache, or serve something else. */
  warnings(): string[] {
    const warnings = this.#members.flatMap(({ kind, address, state }) =>
      state.name === 'mismatch' ? [`${kind} ${address} ${state.reason}; it gets no requests`] : [],
    );
    const known = this.#members.filter(({ identity }) => identity?.ours === true);
    for (const [what, of] of [
      ['tensor_parallel_size', (one: Member) => one.identity?.tensorParallelSize],
      ['fingerprint', (one: Member) => one.identity?.fingerprint],
    ] as const) {
      const groups = new Map<string, string[]>();
      for (const one of known) {
        const value = of(one);
        if (value === null || value === undefined) continue;
        const group = groups.get(String(value)) ?? [];
        groups.set(String(value), [...group, one.address]);
      }
      if (groups.size < 2) continue;
      const shown = [...groups].map(([value, addresses]) => `${value} (${addresses.join(', ')})`);
      warnings.push(`${what} differs, so these never share KVCache: ${shown.join('; ')}`);
    }
    return warnings;
  }

  /** Throws if the counters cannot be right. */
  checkInvariants(): void {
    let activeCount = 0;
    for (const member of this.#members) {
      activeCount += member.activeRequestCount;
      member.checkInvariants();
      assert(
        this.#up[member.kind].includes(member) === (member.state.name === 'up'),
        `${member.address} may be chosen exactly while it is up`,
      );
    }
    assert(activeCount === this.#assignmentCount, 'every attempt is counted at one instance');
  }

  #change(member: Member, state: InstanceState): void {
    const before = member.state;
    member.state = state;
    if (before.name === state.name && reasonOf(before) === reasonOf(state)) return;
    this.#up[member.kind] = this.#members.filter(
      (one) => one.kind === member.kind && one.state.name === 'up',
    );
    this.#options.onChange?.(member, before);
  }
}

function reasonOf(state: InstanceState): string | null {
  return 'reason' in state ? state.reason : null;
}

/** Whole ids, over all that are served; a path and its last part are the same model. */
export function servesModel(ids: readonly string[], model: string): boolean {
  return ids.some((id) => id === model || lastPart(id) === lastPart(model));
}

function mismatchReason(ids: readonly string[], model: string): string {
  const served = ids.length === 0 ? 'no model' : ids.map((id) => `"${id}"`).join(', ');
  return `serves ${served}, not "${model}" as --model says`;
}

function lastPart(id: string): string {
  return id.slice(id.lastIndexOf('/') + 1);
}
