import type {
  AsideImage,
  ChangeLog,
  CoreImage,
  DiskImage,
  MountImage,
  ObjectImage,
} from '../core/change-log.ts';

/** The state that a journal describes, built by replaying it. A standby keeps one up to date. */
export class JournalImage implements ChangeLog, CoreImage {
  readonly #mounts = new Map<number, MountImage>();
  readonly #disks = new Map<number, DiskImage>();
  readonly #tenants = new Map<string, Map<string, ObjectImage>>();
  readonly #aside = new Map<number, AsideImage>();
  #largestNumber = 0;
  #objectCount = 0;

  get mounts(): Iterable<MountImage> {
    return this.#mounts.values();
  }

  get disks(): Iterable<DiskImage> {
    return this.#disks.values();
  }

  get objects(): Iterable<ObjectImage> {
    return objectsOf(this.#tenants.values());
  }

  get aside(): Iterable<AsideImage> {
    return this.#aside.values();
  }

  get nextNumber(): number {
    return this.#largestNumber + 1;
  }

  get objectCount(): number {
    return this.#objectCount;
  }

  get mountCount(): number {
    return this.#mounts.size;
  }

  mounted(mount: MountImage): void {
    this.#seen(mount.number);
    this.#mounts.set(mount.number, mount);
  }

  unmounted(number: number): void {
    this.#mounts.delete(number);
  }

  diskMounted(disk: DiskImage): void {
    this.#seen(disk.number);
    this.#disks.set(disk.number, disk);
  }

  diskUnmounted(number: number): void {
    this.#disks.delete(number);
  }

  stored(object: ObjectImage): void {
    let objects = this.#tenants.get(object.tenant);
    if (objects === undefined) {
      objects = new Map();
      this.#tenants.set(object.tenant, objects);
    }
    const before = objects.size;
    objects.set(object.key, object);
    this.#objectCount += objects.size - before;
    for (const { id } of object.replicas) this.#seen(id);
  }

  gone(tenant: string, key: string): void {
    if (this.#tenants.get(tenant)?.delete(key) === true) this.#objectCount -= 1;
  }

  setAside(aside: AsideImage): void {
    this.#seen(aside.id);
    this.#aside.set(aside.id, aside);
  }

  released(id: number): void {
    this.#aside.delete(id);
  }

  #seen(number: number): void {
    if (number > this.#largestNumber) this.#largestNumber = number;
  }
}

function* objectsOf(
  tenants: Iterable<ReadonlyMap<string, ObjectImage>>,
): IterableIterator<ObjectImage> {
  for (const objects of tenants) yield* objects.values();
}
