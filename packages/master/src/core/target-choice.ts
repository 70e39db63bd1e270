import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';
import { segmentNamesOf } from './task-rules.ts';

export interface Target {
  readonly name: string;
  /** The part of it that is in use. */
  readonly use: number;
}

/** The emptiest of some segments, or of all, that takes objects and does not have this one; null: none. */
export function emptiestFor(
  object: StoredObject,
  segments: SegmentTable,
  among: readonly string[] = [],
): Target | null {
  const taken = new Set(segmentNamesOf(object));
  const names =
    among.length > 0
      ? among
      : new Set([...segments.all()].map(({ descriptor }) => descriptor.name));
  let best: Target | null = null;
  for (const name of names) {
    if (taken.has(name) || !segments.isOpen(name)) continue;
    const use = useOf(segments, name);
    if (best === null || use < best.use) best = { name, use };
  }
  return best;
}

function useOf(segments: SegmentTable, name: string): number {
  let used = 0;
  let capacity = 0;
  for (const { allocator } of segments.named(name)) {
    used += allocator.usedByteCount;
    capacity += allocator.capacity;
  }
  return used / capacity;
}
