import type { Clock } from '@tsukimi/base';
import type { Expected, ReplicaDescriptor } from '@tsukimi/wire';
import { failed } from './answers.ts';
import type { LocalDiskCalls } from './local-disk-calls.ts';
import type { LocalDisk } from './local-disk-table.ts';
import type { ObjectReader } from './object-reader.ts';
import type { ObjectRemover } from './object-remover.ts';
import type { ObjectTable } from './object-table.ts';
import { piecesOf } from './pieces.ts';
import type { StoredObject } from './stored-object.ts';

/**
 * Tells at which places of a list keys stand in which a pattern occurs; null when that takes too long, and
 * null at once for what is no pattern. A port, because running a stranger's pattern safely takes more than
 * a synchronous core has.
 */
export type KeyMatcher = (
  pattern: string,
) => ((keys: readonly string[]) => readonly number[] | null) | null;

interface WalkerParts {
  readonly objects: ObjectTable;
  readonly reader: ObjectReader;
  readonly remover: ObjectRemover;
  readonly disks: LocalDiskCalls;
}

const objectsBetweenYields = 256;
const keysBetweenYields = 8_192;
/** A pattern that is not through all keys by then is given up. */
const matchWithinMs = 30_000;

/** What looks at every object, in steps between which others may change them. */
export class ObjectWalker {
  readonly #clock: Clock;
  readonly #matchKeys: KeyMatcher;
  readonly #parts: WalkerParts;

  constructor(
    { clock, matchKeys }: { readonly clock: Clock; readonly matchKeys: KeyMatcher },
    parts: WalkerParts,
  ) {
    this.#clock = clock;
    this.#matchKeys = matchKeys;
    this.#parts = parts;
  }

  *findMatching(
    pattern: string,
    tenant: string,
  ): Generator<undefined, Expected<(readonly [string, readonly ReplicaDescriptor[]])[]>> {
    const objects = yield* this.#matching(pattern, tenant);
    if (objects === null) return failed('INVALID_PARAMS');
    return this.#parts.reader.findAll(objects.filter(isStored), this.#clock.monotonicMs());
  }

  /** Nothing goes before all keys were looked at. */
  *removeMatching(
    pattern: string,
    force: boolean,
    tenant: string,
  ): Generator<undefined, Expected<number>> {
    const objects = yield* this.#matching(pattern, tenant);
    if (objects === null) return failed('INVALID_PARAMS');
    return { ok: yield* this.#removeWhereAllowed(objects, force) };
  }

  /** Of one tenant, or of all; clients empty their disks when they next ask. What comes meanwhile stays. */
  *removeAll(force: boolean, tenant: string | null): Generator<undefined, number> {
    const { objects, disks } = this.#parts;
    if (tenant === null) {
      disks.requestRemoveAll();
      return yield* this.#removeWhereAllowed(objects.all(), force);
    }
    const touched = new Set<LocalDisk>();
    const count = yield* this.#removeWhereAllowed(objects.ofTenant(tenant), force, touched);
    disks.requestRemoveAll(touched);
    return count;
  }

  /** Objects in whose keys a pattern occurs, some of which may be gone since; null: see `KeyMatcher`. */
  *#matching(pattern: string, tenant: string): Generator<undefined, StoredObject[] | null> {
    const placesIn = this.#matchKeys(pattern);
    if (placesIn === null) return null;
    const untilMs = this.#clock.monotonicMs() + matchWithinMs;
    const found: StoredObject[] = [];
    for (const objects of piecesOf(this.#parts.objects.ofTenant(tenant), keysBetweenYields)) {
      const keys = objects.map(({ key }) => key);
      let places = placesIn(keys);
      if (places === null) {
        // It may have been the machine that was slow.
        yield;
        places = placesIn(keys);
      }
      if (places === null || this.#clock.monotonicMs() > untilMs) return null;
      for (const place of places) found.push(objects[place] as StoredObject);
      yield;
    }
    return found;
  }

  /** Gives how many went; `disks` gathers where else they lay. */
  *#removeWhereAllowed(
    objects: Iterable<StoredObject>,
    force: boolean,
    disks?: Set<LocalDisk>,
  ): Generator<undefined, number> {
    const nowMs = this.#clock.monotonicMs();
    let count = 0;
    for (const piece of piecesOf(objects, objectsBetweenYields)) {
      const old = piece.filter((object) => isStored(object) && object.startedMs <= nowMs);
      count += this.#parts.remover.removeWhereAllowed(old, force, nowMs, disks);
      yield;
    }
    return count;
  }
}

function isStored({ list }: StoredObject): boolean {
  return list !== null;
}
