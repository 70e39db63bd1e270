import { assert, type Clock, Fault, formatAddress, type Random } from '@tsukimi/base';
import { type Identity, mismatchReason, replacementReason, servesModel } from './identity.ts';
import { Assignment, PoolSpeeds } from './instance-load.ts';
import {
  noFacts,
  type Policy,
  type RequestFacts,
  type Snapshot,
  type Work,
} from './policies/policy.ts';
import {
  type AttemptOutcome,
  type Endpoint,
  type InstanceKind,
  type InstanceState,
  Member,
  type PoolInstance,
} from './pool-instance.ts';
import { PrefixIndex } from './prefix-index.ts';

/** What happens to instances, for whoever keeps something of them. */
export type PoolEvent =
  | { readonly kind: 'state'; readonly instance: PoolInstance; readonly before: InstanceState }
  /** An attempt could not connect or lost its connection: who answers there now is to be found out. */
  | { readonly kind: 'suspect'; readonly instance: PoolInstance }
  /** Another engine answers there now: whatever was known of the one before holds no more. */
  | { readonly kind: 'replaced'; readonly instance: PoolInstance; readonly reason: string }
  | { readonly kind: 'role'; readonly instance: PoolInstance; readonly before: InstanceKind }
  /** It is in the pool no more, and nothing is to be sent there. */
  | { readonly kind: 'left'; readonly instance: PoolInstance };

export interface InstancePoolOptions {
  /** The id that instances must serve. */
  readonly model: string;
  readonly policies: Readonly<Record<InstanceKind, Policy>>;
  readonly random: Random;
  readonly instanceCountMax: number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly onEvent?: (event: PoolEvent) => void;
}

/** Failed probes in a row after which an instance counts as down. */
const failedProbeCountMax = 2;

/**
 * Knows all instances: which may be used, what they serve, how much they have to do. Synchronous;
 * probes, deadlines and sockets are outside.
 */
export class InstancePool {
  readonly #options: InstancePoolOptions;
  #members: readonly Member[] = [];
  /** Have left while attempts at them went on. */
  readonly #departed = new Set<Member>();
  readonly #up: Record<InstanceKind, readonly Member[]> = { prefill: [], decode: [] };
  /** When a breaker lets somebody in again, so that `#up` changes by time alone. */
  readonly #upUntilMs: Record<InstanceKind, number> = {
    prefill: Number.POSITIVE_INFINITY,
    decode: Number.POSITIVE_INFINITY,
  };
  readonly #prefixes = new PrefixIndex();
  readonly #speeds = new PoolSpeeds();
  readonly #hitTokenCounts: number[] = [];
  /** Filled anew for every choice, so that none makes garbage. */
  readonly #snapshot: { -readonly [K in keyof Snapshot<Member>]: Snapshot<Member>[K] } = {
    work: 'whole',
    request: noFacts,
    candidates: [],
    hitTokenCounts: this.#hitTokenCounts,
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

  /** Whether the policy of a leg wants to know it. */
  reads(what: Policy['reads'][number]): boolean {
    const { prefill, decode } = this.#options.policies;
    return prefill.reads.includes(what) || decode.reads.includes(what);
  }

  get model(): string {
    return this.#options.model;
  }

  /**
   * Those that may be used, in the order they joined. Whose breaker is open is left out, unless that
   * would leave nobody.
   */
  up(kind: InstanceKind): readonly PoolInstance[] {
    const untilMs = this.#upUntilMs[kind];
    if (untilMs !== Number.POSITIVE_INFINITY && this.#nowMs() >= untilMs) this.#refresh(kind);
    return this.#up[kind];
  }

  /** Leading tokens of the prompt that one of those that are up should have cached, at most. */
  longestHit(kind: InstanceKind, request: RequestFacts): number {
    return this.up(kind).reduce((most, one) => Math.max(most, this.#hitOf(one, request)), 0);
  }

  find(kind: InstanceKind, address: string): PoolInstance | null {
    return this.#members.find((one) => one.kind === kind && one.address === address) ?? null;
  }

  /** Throws `ALREADY_EXISTS` for a second one of the same kind and address, `OVERLOADED` when full. */
  add(kind: InstanceKind, endpoint: Endpoint): PoolInstance {
    if (this.find(kind, formatAddress(endpoint)) !== null) {
      const reason = `${formatAddress(endpoint)} is a ${kind} instance already`;
      throw new Fault('ALREADY_EXISTS', reason);
    }
    if (this.#members.length >= this.#options.instanceCountMax) {
      throw new Fault('OVERLOADED', `there are ${this.#members.length} instances already`);
    }
    const member = new Member(kind, endpoint, this.#joinedCount, this.#speeds);
    this.#joinedCount += 1;
    this.#members = [...this.#members, member];
    return member;
  }

  /** Nothing new goes there from now on; it leaves when its last attempt has ended. */
  drain(instance: PoolInstance): void {
    const member = instance as Member;
    if (member.draining || !this.#members.includes(member)) return;
    member.draining = true;
    this.#refresh(member.kind);
    if (member.activeRequestCount === 0) this.remove(member);
  }

  /** It drains no more. */
  keep(instance: PoolInstance): void {
    (instance as Member).draining = false;
    this.#refresh(instance.kind);
  }

  /** It leaves at once; attempts that go on there are counted until they end. Harmless when repeated. */
  remove(instance: PoolInstance): void {
    const member = instance as Member;
    if (!this.#members.includes(member)) return;
    this.#members = this.#members.filter((one) => one !== member);
    if (member.activeRequestCount > 0) this.#departed.add(member);
    member.state = { name: 'down', reason: 'was removed' };
    this.#prefixes.forget(member.order);
    this.#refresh(member.kind);
    this.#options.onEvent?.({ kind: 'left', instance: member });
  }

  /** The other legs from now on; those under way go on. Throws `ALREADY_EXISTS` if it is there twice. */
  setKind(instance: PoolInstance, kind: InstanceKind): void {
    const member = instance as Member;
    const before = member.kind;
    if (before === kind) return;
    if (this.find(kind, member.address) !== null) {
      throw new Fault('ALREADY_EXISTS', `${member.address} is a ${kind} instance already`);
    }
    member.kind = kind;
    this.#refresh(before);
    this.#refresh(kind);
    this.#options.onEvent?.({ kind: 'role', instance: member, before });
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
    const leg = legOf(work);
    const policy = policies[leg];
    const snapshot = this.#snapshot;
    snapshot.work = work;
    snapshot.request = request;
    snapshot.candidates = candidates as readonly Member[];
    if (policy.reads.includes('chance')) snapshot.chance = random.uint32() / 2 ** 32;
    if (policy.reads.includes('prefix')) this.#fillHits(snapshot);
    const choice = policy.choose(snapshot);
    const member = choice.instance;
    this.#turn += 1;
    member.lastTurn = this.#turn;
    member.requestCount += 1;
    this.#assignmentCount += 1;
    const breaker = member.breakers[leg];
    if (!breaker.closed) {
      breaker.began();
      this.#refresh(leg);
    }
    this.#prefixes.dispatched(member.order, request.blockHashes);
    return new Assignment(member, work, request, choice, candidates.length, nowMs);
  }

  /** The attempt is over. `outputTokenCount` is what came of a stream; 0 when not known. */
  release(
    assignment: Assignment<PoolInstance>,
    outcome: AttemptOutcome,
    nowMs: number,
    outputTokenCount: number,
  ): void {
    const member = assignment.instance as Member;
    assignment.outcome ??= outcome;
    assignment.ended(nowMs, outputTokenCount);
    this.#assignmentCount -= 1;
    this.#tellBreaker(member, legOf(assignment.work), outcome, nowMs);
    if (typeof outcome !== 'string') {
      member.failureCount += 1;
      // Nobody listens there: it need not fail for others first. The next good probe brings it back.
      if (outcome.reason === 'connect' && member.state.name === 'up') {
        member.wasGone = true;
        this.#change(member, { name: 'down', reason: outcome.message });
      }
      if (outcome.reason === 'connect' || outcome.reason === 'reset') {
        this.#options.onEvent?.({ kind: 'suspect', instance: member });
      }
    }
    if (member.activeRequestCount > 0) return;
    if (member.draining) this.remove(member);
    this.#departed.delete(member);
  }

  /** Bytes of an answer came: it lives, whatever a probe that was late thinks. */
  showedLife(instance: PoolInstance): void {
    (instance as Member).failedProbeCount = 0;
  }

  /** The instance told who it is. Up if it serves the model, else a mismatch. */
  identified(instance: PoolInstance, told: Identity): void {
    const member = instance as Member;
    const before = member.identity;
    // An engine that did not say it this time is not taken for another one by that.
    const engineId = told.engineId ?? (member.wasGone ? null : (before?.engineId ?? null));
    const identity = { ...told, engineId };
    const restarted = member.wasGone && (engineId === null || before?.engineId === null);
    const reason =
      before === null
        ? null
        : (replacementReason(before, identity) ?? (restarted ? 'it was gone' : null));
    const learnt = reason === null && told.pd?.protocol === 'auto' ? before?.pd : null;
    member.identity = learnt == null ? identity : { ...identity, pd: learnt };
    member.failedProbeCount = 0;
    member.wasGone = false;
    if (reason !== null) {
      for (const breaker of Object.values(member.breakers)) breaker.reset();
      member.forgetSpeeds();
      this.#prefixes.forget(member.order);
      this.#options.onEvent?.({ kind: 'replaced', instance: member, reason });
    }
    this.#change(
      member,
      servesModel(identity.modelIds, this.#options.model)
        ? { name: 'up' }
        : { name: 'mismatch', reason: mismatchReason(identity.modelIds, this.#options.model) },
    );
    this.#refresh(member.kind);
  }

  /** It answered a prefill leg as only an engine with NIXL's connector does. */
  handsOver(instance: PoolInstance): void {
    const member = instance as Member;
    if (member.identity?.pd?.protocol !== 'auto') return;
    member.identity = { ...member.identity, pd: { protocol: 'nixl' } };
  }

  /** A probe of an instance that is up found it well. */
  probeSucceeded(instance: PoolInstance): void {
    (instance as Member).failedProbeCount = 0;
  }

  /** `gone`: nobody listens there. */
  probeFailed(instance: PoolInstance, reason: string, gone = false): void {
    const member = instance as Member;
    member.failedProbeCount += 1;
    if (gone) member.wasGone = true;
    if (member.state.name === 'up' && member.failedProbeCount < failedProbeCountMax) return;
    this.#change(member, { name: 'down', reason });
  }

  /** For people: of the leg that it is there for. */
  breakerState(instance: PoolInstance): 'closed' | 'open' | 'half-open' {
    return (instance as Member).breakers[instance.kind].stateAt(this.#nowMs());
  }

  /** How much longer nobody is let through to it; 0 while anybody may be. */
  breakerOpenMs(instance: PoolInstance): number {
    const breaker = (instance as Member).breakers[instance.kind];
    return breaker.closed ? 0 : Math.max(0, breaker.openUntilMs - this.#nowMs());
  }

  /** Another process of this proxy has had its attempts fail there. */
  openedElsewhere(instance: PoolInstance, openMs: number): void {
    (instance as Member).breakers[instance.kind].openedElsewhere(this.#nowMs() + openMs);
    this.#refresh(instance.kind);
  }

  /** It does not generate, though its probes are well. */
  hangs(instance: PoolInstance): void {
    (instance as Member).breakers[instance.kind].hangs(this.#nowMs());
    this.#refresh(instance.kind);
  }

  /** What other processes of this proxy have sent there; see `Candidate`. */
  setElsewhere(instance: PoolInstance, tokenCount: number): void {
    (instance as Member).elsewhereTokenCount = tokenCount;
  }

  /** Throws if the counters cannot be right. */
  checkInvariants(): void {
    let activeCount = 0;
    for (const member of [...this.#members, ...this.#departed]) {
      activeCount += member.activeRequestCount;
      member.checkInvariants();
      assert(
        !this.#up[member.kind].includes(member) || this.#isUsable(member),
        `${member.address} is chosen only while it is up and stays`,
      );
    }
    for (const kind of ['prefill', 'decode'] as const) {
      const usable = this.#members.some((one) => one.kind === kind && this.#isUsable(one));
      assert(usable === this.#up[kind].length > 0, `a ${kind} instance is chosen if any can be`);
    }
    assert(activeCount === this.#assignmentCount, 'every attempt is counted at one instance');
    this.#prefixes.checkInvariants();
  }

  #fillHits({ candidates, request }: Snapshot<Member>): void {
    this.#hitTokenCounts.length = 0;
    for (const candidate of candidates) this.#hitTokenCounts.push(this.#hitOf(candidate, request));
  }

  #hitOf({ order }: PoolInstance, request: RequestFacts): number {
    const blockCount = this.#prefixes.heldBlockCount(order, request.blockHashes);
    return Math.min(blockCount * request.blockTokenCount, request.promptTokenCount);
  }

  #tellBreaker(member: Member, leg: InstanceKind, outcome: AttemptOutcome, nowMs: number): void {
    const breaker = member.breakers[leg];
    const wasClosed = breaker.closed;
    if (typeof outcome === 'string') {
      if (wasClosed && outcome === 'abandoned') return;
      breaker.ended(outcome, nowMs);
    } else if (outcome.reason === 'refused') breaker.ended('answered', nowMs);
    else breaker.ended('failed', nowMs);
    if (!wasClosed || !breaker.closed) this.#refresh(leg);
  }

  #isUsable(member: Member): boolean {
    return member.state.name === 'up' && !member.draining;
  }

  #refresh(kind: InstanceKind): void {
    const usable = this.#members.filter((one) => one.kind === kind && this.#isUsable(one));
    const nowMs = this.#nowMs();
    const allowed = usable.filter((one) => one.breakers[kind].allows(nowMs));
    this.#up[kind] = allowed.length > 0 ? allowed : usable;
    const changes = usable
      .map((one) => one.breakers[kind].openUntilMs)
      .filter((untilMs) => untilMs > nowMs);
    this.#upUntilMs[kind] = Math.min(Number.POSITIVE_INFINITY, ...changes);
  }

  #change(member: Member, state: InstanceState): void {
    if (!this.#members.includes(member)) return;
    const before = member.state;
    member.state = state;
    if (before.name === state.name && reasonOf(before) === reasonOf(state)) return;
    this.#refresh(member.kind);
    this.#options.onEvent?.({ kind: 'state', instance: member, before });
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}

/** Whose policy and breaker count. */
function legOf(work: Work): InstanceKind {
  return work === 'prefill' ? 'prefill' : 'decode';
}

function reasonOf(state: InstanceState): string | null {
  return 'reason' in state ? state.reason : null;
}
