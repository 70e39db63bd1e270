import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { Fault, formatByteSize } from '@tsukimi/base';
import { allocateFile, isFileLocked, lockFile, unlockFile } from './system-calls.ts';

/**
 * Files below shared segments: `tsukimi-<boot>-<pid>-<start time>-<number>` in /dev/shm. The owner
 * holds the file's lock as long as it lives, which tells a peer that it is there, and the name tells the next
 * start whom the file belonged to.
 */
const segmentDirectory = '/dev/shm';

const fileName = /^tsukimi-([0-9a-f]{8})-(\d{1,10})-(\d{1,20})-\d{1,10}$/;
const ENOSPC = 28;
const ENOMEM = 12;

export interface SegmentFile {
  readonly path: string;
  readonly descriptor: number;
  readonly inode: number;
}

let nextNumber = 0;

/**
 * Creates a file of `byteCount` bytes that exist, so that writing to it later cannot fail, and takes
 * its lock. Throws `NO_SPACE` when the file system is too small; the caller may then use private memory.
 */
export function createSegmentFile(byteCount: number, label: string): SegmentFile {
  const name = `tsukimi-${bootId().slice(0, 8)}-${process.pid}-${startTimeOf(process.pid)}-${nextNumber}`;
  nextNumber += 1;
  const path = join(segmentDirectory, name);
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const descriptor = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    lockFile(descriptor);
    reserve(descriptor, byteCount, label);
    return { path, descriptor, inode: fstatSync(descriptor).ino };
  } catch (error) {
    closeSync(descriptor);
    unlinkSync(path);
    throw error;
  }
}

/** Throws `NO_SPACE` in one sentence when the bytes cannot be had. */
export function reserve(descriptor: number, byteCount: number, label: string): void {
  const errno = allocateFile(descriptor, byteCount);
  if (errno === 0) return;
  if (errno === ENOSPC || errno === ENOMEM) {
    throw new Fault(
      'NO_SPACE',
      `${segmentDirectory} has no room for ${formatByteSize(byteCount)} of ${label}; enlarge it or choose a smaller segment`,
    );
  }
  throw new Fault('INTERNAL', `allocating ${label} in ${segmentDirectory} failed: errno ${errno}`);
}

export function removeSegmentFile(file: SegmentFile): void {
  try {
    unlinkSync(file.path);
  } catch {
    // Somebody tidied up before us.
  }
  unlockFile(file.descriptor);
  closeSync(file.descriptor);
}

/**
 * Opens the file of a peer's segment on this host. Null when it is not exactly that: another owner or
 * inode, too short, not below /dev/shm, or out of reach because the peer has a /dev/shm of its own.
 */
export function openSegmentFile(
  path: string,
  inode: number,
  byteCount: number,
): SegmentFile | null {
  const name = basename(path);
  if (path !== `${segmentDirectory}/${name}` || !fileName.test(name)) return null;
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch {
    return null;
  }
  const found = fstatSync(descriptor);
  if (
    found.isFile() &&
    found.ino === inode &&
    found.uid === process.getuid?.() &&
    found.size >= byteCount &&
    isFileLocked(descriptor)
  ) {
    return { path, descriptor, inode };
  }
  closeSync(descriptor);
  return null;
}

/** Removes this user's segment files whose owner is gone. Answers how many. */
export function removeStaleSegments(directory: string = segmentDirectory): number {
  let removedCount = 0;
  for (const name of listed(directory)) {
    const match = fileName.exec(name);
    if (match === null) continue;
    const [, boot, pid, startTime] = match as unknown as [string, string, string, string];
    if (boot === bootId().slice(0, 8) && startTimeOf(Number(pid)) === startTime) continue;
    if (removeUnlessHeld(join(directory, name))) removedCount += 1;
  }
  return removedCount;
}

function listed(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** The owner may live where its process id cannot be seen, in another container: the lock decides. */
function removeUnlessHeld(path: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile() || found.uid !== process.getuid?.() || isFileLocked(descriptor))
      return false;
    unlinkSync(path);
    return true;
  } catch {
    return false;
  } finally {
    closeSync(descriptor);
  }
}

let bootIdOnce: string | null = null;

function bootId(): string {
  if (process.platform !== 'linux') {
    throw new Fault('UNSUPPORTED', `shared memory needs Linux, this is ${process.platform}`);
  }
  bootIdOnce ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return bootIdOnce;
}

/** Same text, same machine and same network: a peer with it may share memory and loopback with us. */
export function hostId(): string {
  return `${bootId()}:${statSync('/proc/self/ns/net').ino}`;
}

/**
 * Field 22 of /proc/<pid>/stat, counted behind the program's name, which may hold anything. Null for a
 * process that is gone, also where only its parent has not heard of it yet (states Z and X).
 */
function startTimeOf(pid: number): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}
