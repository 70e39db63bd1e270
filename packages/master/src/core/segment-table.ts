import { assert, below, type Random, SeededRandom } from '@tsukimi/base';
import { type Segment, SegmentStatus, type Uuid } from '@tsukimi/wire';
import { OffsetAllocator } from './allocator.ts';
import { type Due, DueHeap } from './due-heap.ts';
import type { MemoryReplica } from './replica.ts';

export const allocationStrategies = ['random', 'free_ratio_first', 'local_first'] as const;
export type AllocationStrategy = (typeof allocationStrategies)[number];

/** A client's memory that holds objects. Due when it is being unmounted gracefully. */
export interface MountedSegment extends Due {
  readonly descriptor: Segment;
  readonly owner: Uuid;
  readonly allocator: OffsetAllocator<MemoryReplica>;
  status: typeof SegmentStatus.OK | typeof SegmentStatus.GRACEFULLY_UNMOUNTING;
  /** The allocation that last looked at it, so that each looks once. */
  visit: number;
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
  /** Those that take new objects. */
  #open: MountedSegment[] = [];
  #capacityByteCount = 0;
  #usedByteCount = 0;
  #largestByteCount = 0;
  #nextReplicaId = 1;
  #visit = 0;

  constructor(strategy: AllocationStrategy, random: Random) {
    this.#strategy = strategy;
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

  /** How many take new objects. */
  get openCount(): number {
    return this.#open.length;
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

  mount(descriptor: Segment, owner: Uuid): MountedSegment {
    assert(!this.#byId.has(descriptor.id), 'a segment is mounted once');
    const segment: MountedSegment = {
      descriptor,
      owner,
      allocator: new OffsetAllocator(descriptor.size),
      status: SegmentStatus.OK,
      visit: 0,
      dueMs: 0,
      heapIndex: -1,
    };
    this.#byId.set(descriptor.id, segment);
    const namesakes = this.#byName.get(descriptor.name);
    if (namesakes === undefined) this.#byName.set(descriptor.name, [segment]);
    else namesakes.push(segment);
    this.#capacityByteCount += descriptor.size;
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
        if (segment.status === SegmentStatus.OK) this.#tryIn(segment, byteCount, replicas);
      }
    }
    const open = this.#inOrder(placement);
    let index = open.length > 1 && open === this.#open ? below(this.#chance, open.length) : 0;
    for (let left = open.length; left > 0; left -= 1) {
      if (replicas.length >= placement.replicaCount) break;
      this.#tryIn(open[index] as MountedSegment, byteCount, replicas);
      index = index + 1 === open.length ? 0 : index + 1;
    }
    return replicas;
  }

  /** Replicas of all kinds are numbered in one row. */
  nextReplicaId(): number {
    return this.#nextReplicaId++;
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
    for (const segment of this.#byId.values()) {
      segment.allocator.checkInvariants();
      capacityByteCount += segment.allocator.capacity;
      usedByteCount += segment.allocator.usedByteCount;
      if (segment.status === SegmentStatus.OK) openCount += 1;
      else assert(segment.heapIndex !== -1, 'a closed segment is going to be unmounted');
      assert(this.named(segment.descriptor.name).includes(segment), 'a segment has its name');
    }
    this.#unmounting.checkInvariants();
    assert(capacityByteCount === this.#capacityByteCount, 'capacity is the sum of the segments');
    assert(usedByteCount === this.#usedByteCount, 'used bytes are the sum of the segments');
    assert(openCount === this.#open.length, 'open segments are known');
  }

  #tryIn(segment: MountedSegment, byteCount: number, replicas: MemoryReplica[]): void {
    if (segment.visit === this.#visit) return;
    segment.visit = this.#visit;
    const block = segment.allocator.allocate(byteCount);
    if (block === null) return;
    const id = this.nextReplicaId();
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
    this.#usedByteCount += byteCount;
    replicas.push(replica);
  }

  #inOrder({ hostId }: Placement): readonly MountedSegment[] {
    if (this.#strategy === 'random' || this.#open.length < 2) return this.#open;
    if (this.#strategy === 'free_ratio_first') {
      return this.#open.toSorted((one, other) => usedRatio(one) - usedRatio(other));
    }
    const start = below(this.#chance, this.#open.length);
    const rotated = [...this.#open.slice(start), ...this.#open.slice(0, start)];
    const isLocal = ({ descriptor }: MountedSegment) =>
      hostId !== '' && descriptor.hostId === hostId;
    return [...rotated.filter(isLocal), ...rotated.filter((segment) => !isLocal(segment))];
  }

  #openChanged(): void {
    this.#open = [...this.#byId.values()].filter(({ status }) => status === SegmentStatus.OK);
    this.#largestByteCount = this.#open.reduce(
      (largest, { descriptor }) => Math.max(largest, descriptor.size),
      0,
    );
  }
}

function usedRatio({ allocator }: MountedSegment): number {
  return allocator.usedByteCount / allocator.capacity;
}
