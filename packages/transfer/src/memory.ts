import { constants } from 'node:buffer';
import { Fault } from '@tsukimi/base';
import { createSegmentFile, removeSegmentFile } from './segment-file.ts';
import { mapFile, mapPrivate } from './system-calls.ts';

export interface MemoryOptions {
  readonly byteCount: number;
  /** In /dev/shm, where processes of this host and user can map it too. */
  readonly shared: boolean;
  /** What it is for, in errors. */
  readonly label: string;
}

/** Memory at a fixed address, which peers name bytes by. */
export interface Memory {
  /** Stays valid for whoever holds it, also after `close`. */
  readonly view: Buffer;
  readonly baseAddress: bigint;
  readonly byteCount: number;
  readonly sharedPath: string | null;
  readonly sharedInode: number | null;
  /** Removes the shared file; peers on this host no longer reach it. Harmless when repeated. */
  close(): void;
}

/** Zeroed memory. Throws `NO_SPACE`, `INVALID_ARGUMENT`, and `UNSUPPORTED` on other systems than Linux. */
export function allocateMemory({ byteCount, shared, label }: MemoryOptions): Memory {
  if (!Number.isSafeInteger(byteCount) || byteCount < 1 || byteCount > constants.MAX_LENGTH) {
    throw new Fault(
      'INVALID_ARGUMENT',
      `${label}: ${byteCount} bytes is not between 1 and ${constants.MAX_LENGTH}, the most one segment can have in this release of Node`,
    );
  }
  if (!shared) {
    return {
      ...mapPrivate(byteCount),
      byteCount,
      sharedPath: null,
      sharedInode: null,
      close: () => {},
    };
  }
  const file = createSegmentFile(byteCount, label);
  let open = true;
  const close = () => {
    if (open) removeSegmentFile(file);
    open = false;
  };
  try {
    return {
      ...mapFile(file.descriptor, byteCount),
      byteCount,
      sharedPath: file.path,
      sharedInode: file.inode,
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}
