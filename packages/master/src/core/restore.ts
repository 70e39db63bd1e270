import { Fault } from '@tsukimi/base';
import type { AsideImage, CoreImage, MountImage, ObjectImage, ReplicaImage } from './change-log.ts';
import type { ClientTable } from './client-table.ts';
import type { LocalDisk, LocalDiskTable } from './local-disk-table.ts';
import type { ObjectTable } from './object-table.ts';
import type { MemoryReplica, Replica } from './replica.ts';
import type { MountedSegment, SegmentTable } from './segment-table.ts';

interface Tables {
  readonly clients: ClientTable;
  readonly segments: SegmentTable;
  readonly disks: LocalDiskTable;
  readonly objects: ObjectTable;
}

/** A run of bytes in a segment, and what to do with the replica there. */
interface Run {
  readonly offset: number;
  readonly byteCount: number;
  readonly id: number;
  readonly take: (replica: MemoryReplica) => void;
}

/**
 * Fills empty tables with what another process had. Segments and disks are away until their clients
 * are heard. Replicas in what is not mounted any more are left out, and so are objects without others.
 * Throws `MALFORMED` for an image in which two replicas lie in the same bytes.
 */
export function restore(
  image: CoreImage,
  { clients, segments, disks, objects }: Tables,
  options: { readonly unheardTtlMs: number; readonly putReleaseTimeoutMs: number },
  nowMs: number,
): void {
  const segmentByNumber = new Map<number, MountedSegment>();
  const diskByNumber = new Map<number, LocalDisk>();
  const runs = new Map<number, Run[]>();
  for (const mount of image.mounts) {
    segmentByNumber.set(mount.number, restoreSegment(mount, clients, segments, options, nowMs));
    runs.set(mount.number, []);
  }
  for (const { number, owner } of image.disks) {
    clients.restore(owner, nowMs + options.unheardTtlMs);
    diskByNumber.set(number, disks.restore(owner, number));
  }
  const restored: { readonly object: ObjectImage; readonly slots: (Replica | null)[] }[] = [];
  for (const object of image.objects) {
    const slots: (Replica | null)[] = object.replicas.map((replica, index) => {
      if (replica.kind !== 'memory') return restoreFile(replica, diskByNumber);
      runs.get(replica.mount)?.push(runOf(object, replica, (made) => (slots[index] = made)));
      return null;
    });
    restored.push({ object, slots });
  }
  const dueMs = nowMs + options.putReleaseTimeoutMs;
  for (const aside of image.aside) {
    runs.get(aside.mount)?.push(asideRun(aside, (replica) => objects.restoreAside(replica, dueMs)));
  }
  for (const [number, ofSegment] of runs) {
    place(segmentByNumber.get(number) as MountedSegment, ofSegment, segments);
  }
  for (const { object, slots } of restored) {
    const replicas = slots.filter((replica) => replica !== null);
    if (replicas.length > 0) objects.restore(object, replicas, nowMs);
  }
  segments.countFrom(image.nextNumber);
}

function restoreSegment(
  { number, segment, owner, isClosing }: MountImage,
  clients: ClientTable,
  segments: SegmentTable,
  { unheardTtlMs }: { readonly unheardTtlMs: number },
  nowMs: number,
): MountedSegment {
  const mounted = segments.restore(segment, owner, number);
  if (isClosing) segments.closeUntil(mounted, nowMs + unheardTtlMs);
  clients.restore(owner, nowMs + unheardTtlMs).segments.add(mounted);
  return mounted;
}

function restoreFile(
  replica: Exclude<ReplicaImage, { kind: 'memory' }>,
  disks: ReadonlyMap<number, LocalDisk>,
): Replica | null {
  const common = { id: replica.id, object: null, isComplete: replica.isComplete, busyCount: 0 };
  const { byteCount } = replica;
  if (replica.kind === 'disk') {
    return { ...common, kind: 'disk', filePath: replica.filePath, byteCount };
  }
  const disk = disks.get(replica.disk);
  if (disk === undefined) return null;
  const { transportEndpoint } = replica;
  return { ...common, kind: 'localDisk', disk, byteCount, transportEndpoint };
}

function runOf(
  { byteCount }: ObjectImage,
  { id, offset, isComplete }: Extract<ReplicaImage, { kind: 'memory' }>,
  keep: (replica: MemoryReplica) => void,
): Run {
  const take = (replica: MemoryReplica) => {
    replica.isComplete = isComplete;
    keep(replica);
  };
  return { offset, byteCount, id, take };
}

function asideRun({ id, offset, byteCount }: AsideImage, take: Run['take']): Run {
  return { id, offset, byteCount, take };
}

function place(segment: MountedSegment, runs: Run[], segments: SegmentTable): void {
  runs.sort((one, other) => one.offset - other.offset);
  for (const { offset, byteCount, id, take } of runs) {
    const replica = segments.place(segment, offset, byteCount, id);
    if (replica === null) {
      throw new Fault(
        'MALFORMED',
        `the journal has two replicas in byte ${offset} of segment ${segment.descriptor.name}; move it away to start without objects`,
      );
    }
    take(replica);
  }
}

/** The tables as an image that is made while it is walked through. */
export function imageOfTables(
  segments: SegmentTable,
  disks: LocalDiskTable,
  objects: ObjectTable,
): CoreImage {
  return {
    get mounts() {
      return segments.images();
    },
    get disks() {
      return [...disks.all()].map(({ number, owner }) => ({ number, owner }));
    },
    get objects() {
      return objects.images();
    },
    get aside() {
      return objects.asideImages();
    },
    get nextNumber() {
      return segments.nextNumber;
    },
  };
}
