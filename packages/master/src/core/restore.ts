import { Fault } from '@tsukimi/base';
import type { CoreImage, MountImage, ObjectImage, ReplicaImage } from './change-log.ts';
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

const objectsBetweenYields = 8_192;

/** A run of bytes in a segment, and where its replica goes. */
interface Run {
  readonly offset: number;
  readonly byteCount: number;
  readonly id: number;
  readonly isComplete: boolean;
  /** The replicas of its object; null for bytes that are set aside. */
  readonly replicas: (Replica | null)[] | null;
  readonly index: number;
}

/**
 * Fills empty tables with what another process had. Segments and disks are away until their clients
 * are heard. Replicas in what is not mounted any more are left out, and so are objects without others.
 * Throws `MALFORMED` for an image in which two replicas lie in the same bytes. Yields now and then, for
 * a caller that has something else to do meanwhile.
 */
export function* restore(
  image: CoreImage,
  { clients, segments, disks, objects }: Tables,
  options: { readonly unheardTtlMs: number; readonly putReleaseTimeoutMs: number },
  nowMs: number,
): Generator<undefined, void> {
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
  // One list beside the other: an object for each pair would be another million to collect.
  const images: ObjectImage[] = [];
  const replicaLists: (Replica | null)[][] = [];
  for (const object of image.objects) {
    const replicas: (Replica | null)[] = object.replicas.map(() => null);
    for (const [index, replica] of object.replicas.entries()) {
      if (replica.kind === 'memory') {
        const { id, offset, isComplete } = replica;
        const { byteCount } = object;
        runs.get(replica.mount)?.push({ offset, byteCount, id, isComplete, replicas, index });
      } else {
        replicas[index] = restoreFile(replica, diskByNumber);
      }
    }
    images.push(object);
    replicaLists.push(replicas);
    if (images.length % objectsBetweenYields === 0) yield;
  }
  const aside = { isComplete: false, replicas: null, index: 0 };
  for (const { mount, id, offset, byteCount } of image.aside) {
    runs.get(mount)?.push({ offset, byteCount, id, ...aside });
  }
  const dueMs = nowMs + options.putReleaseTimeoutMs;
  for (const [number, ofSegment] of runs) {
    const setAside = (replica: MemoryReplica) => objects.restoreAside(replica, dueMs);
    const segment = segmentByNumber.get(number) as MountedSegment;
    yield* place(segment, ofSegment, segments, setAside);
  }
  for (const [index, object] of images.entries()) {
    let replicas = replicaLists[index] as Replica[];
    if (replicas.includes(null as never)) replicas = replicas.filter((replica) => replica !== null);
    if (replicas.length > 0) objects.restore(object, replicas, nowMs);
    if (index % objectsBetweenYields === 0) yield;
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

function* place(
  segment: MountedSegment,
  runs: Run[],
  segments: SegmentTable,
  setAside: (replica: MemoryReplica) => void,
): Generator<undefined, void> {
  runs.sort((one, other) => one.offset - other.offset);
  for (const [count, run] of runs.entries()) {
    if (count % objectsBetweenYields === 0) yield;
    const { offset, byteCount, id, isComplete, replicas, index } = run;
    const replica = segments.place(segment, offset, byteCount, id);
    if (replica === null) {
      throw new Fault(
        'MALFORMED',
        `the journal has two replicas in byte ${offset} of segment ${segment.descriptor.name}; move it away to start without objects`,
      );
    }
    replica.isComplete = isComplete;
    if (replicas === null) setAside(replica);
    else replicas[index] = replica;
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
