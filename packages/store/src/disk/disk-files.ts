import { type FileHandle, open, readdir, rename, stat, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { DirectoryLock } from '@tsukimi/transfer';

/** What the disk tier asks of a file system. Rejects with errors of Node's, which have a `code`. */
export interface DiskFiles {
  /** Makes the directory where it is missing, and keeps other processes out of it until `close`. */
  claim(directory: string): Promise<void>;
  list(
    directory: string,
  ): Promise<readonly { readonly name: string; readonly byteCount: number }[]>;
  /** Bytes of the file system below it. */
  capacity(directory: string): Promise<number>;
  /** A new file with these parts in it, in place of an old one. */
  write(path: string, parts: readonly Buffer[]): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  open(path: string): Promise<OpenFile>;
  close(): Promise<void>;
}

export interface OpenFile {
  /** Fills `into` from this place of the file; false where the file ends before. */
  read(into: Buffer, offset: number): Promise<boolean>;
  close(): Promise<void>;
}

/** Of one call to the system; a larger write is cut. */
const writeByteCountMax = 64 * 2 ** 20;
const partCountMax = 512;

export class LocalDiskFiles implements DiskFiles {
  readonly #claims = new Map<string, DirectoryLock>();

  async claim(directory: string): Promise<void> {
    if (this.#claims.has(directory)) return;
    this.#claims.set(directory, DirectoryLock.take(directory, '--disk-dir'));
  }

  async list(directory: string) {
    const entries: { name: string; byteCount: number }[] = [];
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const { size } = await stat(join(directory, entry.name));
      entries.push({ name: entry.name, byteCount: size });
    }
    return entries;
  }

  async capacity(directory: string): Promise<number> {
    const { bsize, blocks } = await statfs(directory);
    return bsize * blocks;
  }

  async write(path: string, parts: readonly Buffer[]): Promise<void> {
    const file = await open(path, 'w', 0o600);
    try {
      let position = 0;
      for (const batch of batchesOf(parts)) position += await writeAll(file, batch, position);
    } finally {
      await file.close();
    }
  }

  rename(from: string, to: string): Promise<void> {
    return rename(from, to);
  }

  async remove(path: string): Promise<void> {
    await unlink(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
  }

  async open(path: string): Promise<OpenFile> {
    const file = await open(path, 'r');
    return {
      read: async (into, offset) => {
        let done = 0;
        while (done < into.length) {
          const { bytesRead } = await file.read(into, done, into.length - done, offset + done);
          if (bytesRead === 0) return false;
          done += bytesRead;
        }
        return true;
      },
      close: () => file.close(),
    };
  }

  async close(): Promise<void> {
    for (const lock of this.#claims.values()) lock.release();
    this.#claims.clear();
  }
}

/** Parts that go to the system together. */
function* batchesOf(parts: readonly Buffer[]): Generator<readonly Buffer[]> {
  let batch: Buffer[] = [];
  let byteCount = 0;
  for (const part of parts) {
    for (let at = 0; at < part.length; at += writeByteCountMax) {
      const piece = part.subarray(at, at + writeByteCountMax);
      if (batch.length === partCountMax || byteCount + piece.length > writeByteCountMax) {
        yield batch;
        batch = [];
        byteCount = 0;
      }
      batch.push(piece);
      byteCount += piece.length;
    }
  }
  if (batch.length > 0) yield batch;
}

async function writeAll(
  file: FileHandle,
  parts: readonly Buffer[],
  position: number,
): Promise<number> {
  let left = [...parts];
  let done = 0;
  while (left.length > 0) {
    let { bytesWritten } = await file.writev(left, position + done);
    done += bytesWritten;
    while (bytesWritten > 0) {
      const first = left[0] as Buffer;
      if (bytesWritten < first.length) {
        left = [first.subarray(bytesWritten), ...left.slice(1)];
        break;
      }
      bytesWritten -= first.length;
      left = left.slice(1);
    }
  }
  return done;
}
