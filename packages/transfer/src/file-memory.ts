import { constants } from 'node:buffer';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { Fault } from '@tsukimi/base';
import type { Memory } from './memory.ts';
import { allocateFile, mapFile } from './system-calls.ts';

export interface FileRange {
  readonly path: string;
  /** A multiple of 4,096, the page size. */
  readonly offset: number;
  readonly byteCount: number;
}

const pageByteCount = 4_096;

/**
 * A part of an existing file as memory, such as one on a device that is byte-addressable; its content
 * stays. Peers reach it over TCP. Throws `NOT_FOUND` when it cannot be opened, `INVALID_ARGUMENT` for a
 * range that it does not have, `NO_SPACE` where the device has no room for all of it.
 */
export function mapFileMemory({ path, offset, byteCount }: FileRange): Memory {
  const descriptor = open(path);
  try {
    const { size } = fstatSync(descriptor);
    const isRange = [offset, byteCount].every((value) => Number.isSafeInteger(value) && value >= 0);
    if (!isRange || offset + byteCount > size || byteCount < 1 || offset % pageByteCount !== 0) {
      throw new Fault(
        'INVALID_ARGUMENT',
        `${path}: bytes ${offset} to ${offset + byteCount} of ${size} cannot be mapped; the offset must be a multiple of ${pageByteCount}`,
      );
    }
    if (byteCount > constants.MAX_LENGTH) {
      const reason = `${path}: more than ${constants.MAX_LENGTH} bytes, the most one segment can have in this release of Node`;
      throw new Fault('INVALID_ARGUMENT', reason);
    }
    // A hole in the file that cannot be filled later would bring the process down.
    const errno = allocateFile(descriptor, offset + byteCount);
    if (errno !== 0) throw new Fault('NO_SPACE', `${path}: no room for all of it, errno ${errno}`);
    const mapping = mapFile(descriptor, byteCount, offset);
    return { ...mapping, byteCount, sharedPath: null, sharedInode: null, close: () => {} };
  } finally {
    closeSync(descriptor);
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    throw new Fault('NOT_FOUND', `${path} cannot be opened: ${String(error)}`, { cause: error });
  }
}
