import { assert, below, type Random, SeededRandom } from '@tsukimi/base';
import { type Segment, SegmentStatus, type Uuid } from '@tsukimi/wire';
import { type Block, OffsetAllocator } from './allocator.ts';
import type { ChangeLog, MountImage } from './change-log.ts';
import { type Due, DueHeap } from './due-heap.ts';
import type { MemoryReplica } from './replica.ts';

export const allocationStrategies = ['random', 'free_ratio_first', 'local_first'] as const;
export type AllocationStrategy = (typeof allocationStrategies)[number];

/** Taking objects, being emptied before it goes, or empty for that. */
type OpenStatus =
  | typeof SegmentStatus.OK
  | typeof SegmentStatus.DRAINING
  | typeof SegmentStatus.DRAINED;

/** A client's memory that holds objects. Due when it is being unmounted gracefully. */
export interface MountedSegment extends Due {
  /** Given to each mount once, counted from 1. */
  readonly number: number;
  readonly descriptor: Segment;
  readonly owner: Uuid;
  readonly allocator: OffsetAllocator<MemoryReplica>;
  status: OpenStatus | typeof SegmentStatus.GRACEFULLY_UNMOUNTING;
  /** Whether its client is to be heard first: until then nobody is sent there. */
  isAway: boolean;
  /** Whether its client may be dead: nobody is sent there meanwhile. */
  isSuspect: boolean;
  /** Until when somebody may still touch bytes of it that we know nothing of; null: nobody does. */
  rest: Rest | null;
  /** The allocation that last looked at it, so that each looks once. */
  visit: number;
}

interface Rest extends Due {
  readonly segment: MountedSegment;
}

export interface Placement {
  readonly replicaCount: number;
  /** Names of segments to try first, in order. */
  readonly preferredSegments: readonly string[];
  readonly hostId: string;
}

/** What is mounted, by id and by name, and where new objects go. */
export class SegmentTable {
  readonly #strategy: AllocationStrategy;
  readonly #chance: Random;
  readonly #byId = new Map<Uuid, MountedSegment>();
  readonly #byName = new Map<string, MountedSegment[]>();
  readonly #unmounting = new DueHeap<MountedSegment>();
  readonly #resting = new DueHeap<Rest>();
  readonly #changes: ChangeLog | null;
  /** Those that take new objects. */
  #open: MountedSegment[] = [];
  #capacityByteCount = 0;
  #usedByteCount = 0;
  #largestByteCount = 0;
  #awayCount = 0;
  #suspectCount = 0;
  #nextReplicaId = 1;
  #nextNumber = 1;
  #visit = 0;

  constructor(strategy: AllocationStrategy, random: Random, changes: ChangeLog | null) {
    this.#strategy = strategy;
    this.#changes = changes;
    this.#chance = new SeededRandom(random.uint32());
  }

  get count(): number {
    return this.#byId.size;
  }

  get capacityByteCount(): number {
    return this.#capacityByteCount;
  }

  get usedByteCount(): number {
    return this.#usedByteCount;
  }

  /** Larger than every number and id given so far. */
  get nextNumber(): number {
    return Math.max(this.#nextNumber, this.#nextReplicaId);
  }

  /** How many take new objects. */
  get openCount(): number {
    return this.#open.length;
  }

  /** In how many nobody may read: their clients are to be heard first, or may be dead. */
  get unreadableCount(): number {
    return this.#awayCount + this.#suspectCount;
  }

  /** The size of the largest that takes new objects: nothing longer will ever fit. */
  get largestByteCount(): number {
    return this.#largestByteCount;
  }

  all(): IterableIterator<MountedSegment> {
    return this.#byId.values();
  }

  get(id: Uuid): MountedSegment | undefined {
    return this.#byId.get(id);
  }

  named(name: string): readonly MountedSegment[] {
    return this.#byName.get(name) ?? [];
  }

  /** Whether so many bytes more can be counted: beyond 8 PiB in all, sums would not be exact any more. */
  canCount(byteCount: number): boolean {
    return Number.isSafeInteger(this.#capacityByteCount + byteCount);
  }

  mount(descriptor: Segment, owner: Uuid): MountedSegment {
    const segment = this.#add(descriptor, owner, this.#nextNumber);
    this.#changes?.mounted(imageOfMount(segment));
    return segment;
  }

  /** A segment that another process had mounted, and whose client we have not heard. */
  restore(descriptor: Segment, owner: Uuid, number: number): MountedSegment {
    const segment = this.#add(descriptor, owner, number);
    segment.isAway = true;
    this.#awayCount += 1;
    this.#openChanged();
    return segment;
  }

  /** From here on, numbers and ids are larger than those another process gave. */
  countFrom(nextNumber: number): void {
    this.#nextNumber = nextNumber;
    this.#nextReplicaId = nextNumber;
  }

  /** The client is there: its segment is used again. */
  heard(segment: MountedSegment): void {
    if (!segment.isAway) return;
    segment.isAway = false;
    this.#awayCount -= 1;
    this.#openChanged();
  }

  trust(segment: MountedSegment, isSuspect: boolean): void {
    if (segment.isSuspect === isSuspect) return;
    segment.isSuspect = isSuspect;
    this.#suspectCount += isSuspect ? 1 : -1;
    this.#openChanged();
  }

  /** A segment that is being unmounted stays what it is. */
  mark(segment: MountedSegment, status: OpenStatus): void {
    if (segment.status === SegmentStatus.GRACEFULLY_UNMOUNTING) return;
    segment.status = status;
    this.#openChanged();
  }

  /** Takes no new objects until `dueMs`. */
  restUntil(segment: MountedSegment, dueMs: number): void {
    segment.rest = { segment, dueMs, heapIndex: -1 };
    this.#resting.insert(segment.rest);
    this.#openChanged();
  }

  /** Segments that rested long enough take objects again. */
  endRests(nowMs: number): void {
    for (;;) {
      const rest = this.#resting.takeDue(nowMs);
      if (rest === null) return;
      rest.segment.rest = null;
      this.#openChanged();
    }
  }

  #add(descriptor: Segment, owner: Uuid, number: number): MountedSegment {
    assert(!this.#byId.has(descriptor.id), 'a segment is mounted once');
    assert(this.canCount(descriptor.size), 'all segments together have a safe size');
    const segment: MountedSegment = {
      descriptor,
      owner,
      allocator: new OffsetAllocator(descriptor.size),
      number,
      status: SegmentStatus.OK,
      isAway: false,
      isSuspect: false,
      rest: null,
      visit: 0,
      dueMs: 0,
      heapIndex: -1,
    };
    this.#byId.set(descriptor.id, segment);
    const namesakes = this.#byName.get(descriptor.name);
    if (namesakes === undefined) this.#byName.set(descriptor.name, [segment]);
    else namesakes.push(segment);
    this.#capacityByteCount += descriptor.size;
    this.#nextNumber = Math.max(this.#nextNumber, number + 1);
    this.#openChanged();
    return segment;
  }

  /** Takes no new objects from now on; `takeUnmounted` gives it once it is due. */
  closeUntil(segment: MountedSegment, dueMs: number): void {
    if (segment.heapIndex !== -1) this.#unmounting.remove(segment);
    segment.status = SegmentStatus.GRACEFULLY_UNMOUNTING;
    segment.dueMs = dueMs;
    this.#unmounting.insert(segment);
    this.#openChanged();
    this.#changes?.mounted(imageOfMount(segment));
  }

  /** A segment whose grace period is over, still mounted. */
  takeUnmounted(nowMs: number): MountedSegment | null {
    return this.#unmounting.takeDue(nowMs);
  }

  /** Forgets a segment with all that is allocated in it. Gives the replicas that are gone. */
  unmount(segment: MountedSegment): MemoryReplica[] {
    const { id, name, size } = segment.descriptor;
    assert(this.#byId.delete(id), 'an unmounted segment was mounted');
    const namesakes = this.named(name).filter((other) => other !== segment);
    if (namesakes.length === 0) this.#byName.delete(name);
    else this.#byName.set(name, namesakes);
    if (segment.heapIndex !== -1) this.#unmounting.remove(segment);
    if (segment.rest !== null) this.#resting.remove(segment.rest);
    if (segment.isAway) this.#awayCount -= 1;
    if (segment.isSuspect) this.#suspectCount -= 1;
    this.#changes?.unmounted(segment.number);
    this.#capacityByteCount -= size;
    this.#usedByteCount -= segment.allocator.usedByteCount;
    this.#openChanged();
    return segment.allocator.holders();
  }

  /** Up to `replicaCount` replicas in as many segments; fewer, or none, where space lacks. */
  allocate(byteCount: number, placement: Placement): MemoryReplica[] {
    const replicas: MemoryReplica[] = [];
    this.#visit += 1;
    for (const name of placement.preferredSegments) {
      for (const segment of this.named(name)) {
        if (replicas.length >= placement.replicaCount) return replicas;
        if (isOpen(segment)) this.#tryIn(segment, byteCount, replicas);
      }
    }
    const open = this.#inOrder(placement);
    let index = open.length > 1 && open === this.#open ? this.#startIndex() : 0;
    for (let left = open.length; left > 0; left -= 1) {
      if (replicas.length >= placement.replicaCount) break;
      this.#tryIn(open[index] as MountedSegment, byteCount, replicas);
      index = index + 1 === open.length ? 0 : index + 1;
    }
    return replicas;
  }

  /** Whether a segment of this name takes new objects. */
  isOpen(name: string): boolean {
    return this.named(name).some(isOpen);
  }

  /** A replica in a segment of this name; null where space lacks. */
  allocateIn(name: string, byteCount: number): MemoryReplica | null {
    const replicas: MemoryReplica[] = [];
    this.#visit += 1;
    for (const segment of this.named(name)) {
      if (replicas.length === 0 && isOpen(segment)) this.#tryIn(segment, byteCount, replicas);
    }
    return replicas[0] ?? null;
  }

  /** Replicas of all kinds are numbered in one row. */
  nextReplicaId(): number {
    return this.#nextReplicaId++;
  }

  /** A replica that another process had placed; null when its bytes are not free. */
  place(segment: MountedSegment, offset: number, byteCount: number, id: number) {
    const block = segment.allocator.allocateAt(offset, byteCount);
    return block === null ? null : this.#replicaIn(segment, block, id);
  }

  /** Returns a replica's bytes to its segment. */
  release(replica: MemoryReplica): void {
    this.#usedByteCount -= replica.block.byteCount;
    replica.segment.allocator.release(replica.block);
  }

  checkInvariants(): void {
    let capacityByteCount = 0;
    let usedByteCount = 0;
    let openCount = 0;
    let awayCount = 0;
    let suspectCount = 0;
    for (const segment of this.#byId.values()) {
      segment.allocator.checkInvariants();
      capacityByteCount += segment.allocator.capacity;
      usedByteCount += segment.allocator.usedByteCount;
      if (isOpen(segment)) openCount += 1;
      if (segment.isAway) awayCount += 1;
      if (segment.isSuspect) suspectCount += 1;
      assert(
        (segment.status === SegmentStatus.GRACEFULLY_UNMOUNTING) === (segment.heapIndex !== -1),
        'a closed segment is going to be unmounted',
      );
      assert(this.named(segment.descriptor.name).includes(segment), 'a segment has its name');
    }
    this.#unmounting.checkInvariants();
    this.#resting.checkInvariants();
    assert(awayCount === this.#awayCount, 'segments that wait for their client are counted');
    assert(suspectCount === this.#suspectCount, 'suspect segments are counted');
    assert(capacityByteCount === this.#capacityByteCount, 'capacity is the sum of the segments');
    assert(usedByteCount === this.#usedByteCount, 'used bytes are the sum of the segments');
    assert(openCount === this.#open.length, 'open segments are known');
  }

  #tryIn(segment: MountedSegment, byteCount: number, replicas: MemoryReplica[]): void {
    if (segment.visit === this.#visit) return;
    segment.visit = this.#visit;
    const block = segment.allocator.allocate(byteCount);
    if (block === null) return;
    replicas.push(this.#replicaIn(segment, block, this.nextReplicaId()));
  }

  #replicaIn(segment: MountedSegment, block: Block<MemoryReplica>, id: number): MemoryReplica {
    const replica: MemoryReplica = {
      kind: 'memory',
      id,
      segment,
      block,
      object: null,
      isComplete: false,
      busyCount: 0,
      dueMs: 0,
      heapIndex: -1,
    };
    block.holder = replica;
    this.#usedByteCount += block.byteCount;
    return replica;
  }

  #inOrder({ hostId }: Placement): readonly MountedSegment[] {
    if (this.#strategy !== 'local_first' || this.#open.length < 2) return this.#open;
    const start = below(this.#chance, this.#open.length);
    const rotated = [...this.#open.slice(start), ...this.#open.slice(0, start)];
    const isLocal = ({ descriptor }: MountedSegment) =>
      hostId !== '' && descriptor.hostId === hostId;
    return [...rotated.filter(isLocal), ...rotated.filter((segment) => !isLocal(segment))];
  }

  /**
   * Any; or of any two, which may be the same, the one with more room. So the emptiest gets twice its
   * share at most: one that has just come is filled bit by bit, and nobody waits for it.
   */
  #startIndex(): number {
    const one = below(this.#chance, this.#open.length);
    if (this.#strategy !== 'free_ratio_first') return one;
    const other = below(this.#chance, this.#open.length);
    const ratioAt = (index: number) => usedRatio(this.#open[index] as MountedSegment);
    return ratioAt(other) < ratioAt(one) ? other : one;
  }

  images(): MountImage[] {
    return [...this.#byId.values()].map(imageOfMount);
  }

  #openChanged(): void {
    this.#open = [...this.#byId.values()].filter(isOpen);
    this.#largestByteCount = this.#open.reduce(
      (largest, { descriptor }) => Math.max(largest, descriptor.size),
      0,
    );
  }
}

function imageOfMount({ number, descriptor, owner, status }: MountedSegment): MountImage {
  return {
    number,
    segment: descriptor,
    owner,
    isClosing: status === SegmentStatus.GRACEFULLY_UNMOUNTING,
  };
}

/** Whether it takes new objects. */
function isOpen({ status, isAway, isSuspect, rest }: MountedSegment): boolean {
  return status === SegmentStatus.OK && !isAway && !isSuspect && rest === null;
}

function usedRatio({ allocator }: MountedSegment): number {
  return allocator.usedByteCount / allocator.capacity;
}
