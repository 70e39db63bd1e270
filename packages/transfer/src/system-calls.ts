import { Fault } from '@tsukimi/base';
import koffi from 'koffi';

/** The few calls of Linux's C library that Node does not offer. Names of constants are the system's. */

const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20;
const MAP_FAILED = 2n ** 64n - 1n;
const LOCK_SHARED_NOW = 1 | 4;
const LOCK_EXCLUSIVE_NOW = 2 | 4;
const LOCK_RELEASE = 8;

/** Memory of this process that lies outside the JavaScript heap. */
export interface Mapping {
  readonly view: Buffer;
  readonly baseAddress: bigint;
}

interface Library {
  readonly mmap: (...args: unknown[]) => bigint;
  readonly munmap: (address: bigint, byteCount: number) => number;
  readonly allocate: (descriptor: number, offset: number, byteCount: number) => number;
  readonly flock: (descriptor: number, operation: number) => number;
}

let loaded: Library | null = null;

/** Throws `UNSUPPORTED` on other systems than Linux. */
function library(): Library {
  if (loaded !== null) return loaded;
  if (process.platform !== 'linux') {
    throw new Fault('UNSUPPORTED', `segments need Linux, this is ${process.platform}`);
  }
  const libc = koffi.load(null);
  loaded = {
    mmap: libc.func('void *mmap(void *, size_t, int, int, int, int64_t)'),
    munmap: libc.func('int munmap(void *, size_t)'),
    allocate: libc.func('int posix_fallocate(int, int64_t, int64_t)'),
    flock: libc.func('int flock(int, int)'),
  };
  return loaded;
}

/**
 * A Buffer over memory that was unmapped would bring the process down, so nobody unmaps by hand: the
 * collector says when the last Buffer over a mapping is gone, and only then is it given back.
 */
const unreachable = new FinalizationRegistry<{ address: bigint; byteCount: number }>(
  ({ address, byteCount }) => void library().munmap(address, byteCount),
);

/** Maps a file into memory, from a multiple of the page size on. Throws `NO_SPACE` where the process has no room for it. */
export function mapFile(descriptor: number, byteCount: number, offset = 0): Mapping {
  return map(MAP_SHARED, descriptor, byteCount, offset);
}

/** Maps memory of this process alone, zeroed. Throws `NO_SPACE`. */
export function mapPrivate(byteCount: number): Mapping {
  return map(MAP_PRIVATE_ANONYMOUS, -1, byteCount, 0);
}

function map(flags: number, descriptor: number, byteCount: number, offset: number): Mapping {
  const address = library().mmap(null, byteCount, PROT_READ_WRITE, flags, descriptor, offset);
  if (address === MAP_FAILED) {
    throw new Fault('NO_SPACE', `mapping ${byteCount} bytes failed with errno ${koffi.errno()}`);
  }
  const bytes = koffi.view(address, byteCount);
  unreachable.register(bytes, { address, byteCount });
  return { view: Buffer.from(bytes), baseAddress: address };
}

/** Gives the file `byteCount` bytes that really exist. Answers the errno, 0 for success. */
export function allocateFile(descriptor: number, byteCount: number): number {
  return library().allocate(descriptor, 0, byteCount);
}

/** Takes the file's lock, until it is released or the process ends, however it ends. */
export function lockFile(descriptor: number): boolean {
  return library().flock(descriptor, LOCK_EXCLUSIVE_NOW) === 0;
}

/** Closing the descriptor is not enough: a mapping of the file keeps the lock as well. */
export function unlockFile(descriptor: number): void {
  library().flock(descriptor, LOCK_RELEASE);
}

/** Whether somebody else holds the file's lock. Askers do not disturb each other. */
export function isFileLocked(descriptor: number): boolean {
  if (library().flock(descriptor, LOCK_SHARED_NOW) !== 0) return true;
  unlockFile(descriptor);
  return false;
}
