import { closeSync, fdatasync, fsyncSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

const datasync = promisify(fdatasync);

/** A file that only grows. */
export interface JournalFile {
  /** After it returned, the bytes survive this process; after `sync`, the machine's power too. */
  append(bytes: Buffer): void;
  sync(): Promise<void>;
  close(): void;
}

export type OpenJournalFile = (path: string) => JournalFile;

/** Creates the file, or empties what stood there. */
export function openJournalFile(path: string): JournalFile {
  const descriptor = openSync(path, 'w', 0o600);
  syncDirectory(dirname(path));
  return {
    append(bytes) {
      for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
    },
    sync: () => datasync(descriptor),
    close: () => closeSync(descriptor),
  };
}

/** Makes names that were given or taken in a directory survive the machine's power. */
export function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
