import type { PutEntry } from './stored-object.ts';

/** One object to write. */
export interface WriteEntry extends PutEntry {
  /** The bytes, where they lie in the caller's memory until the write has settled; else `fill` makes them. */
  readonly parts?: readonly Buffer[];
  readonly groupId?: string;
}

/** An entry of a value that lies in the caller's memory. */
export function entryOf(key: string, parts: readonly Buffer[], groupId?: string): WriteEntry {
  const byteCount = parts.reduce((sum, part) => sum + part.length, 0);
  const fill = (destination: Buffer) => {
    let at = 0;
    for (const part of parts) at += part.copy(destination, at);
  };
  if (groupId === undefined) return { key, byteCount, fill, parts };
  return { key, byteCount, fill, parts, groupId };
}
