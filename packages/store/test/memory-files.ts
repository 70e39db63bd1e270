import { basename, dirname } from 'node:path';
import type { DiskFiles, OpenFile } from '../src/disk/disk-files.ts';

/** A file system in memory, which fails when it is told to. It outlives the stores that use it. */
export class MemoryFiles implements DiskFiles {
  readonly contents = new Map<string, Buffer>();
  capacityByteCount = 2 ** 30;
  /** Code of the error that writes give. */
  writeError: string | null = null;
  readError: string | null = null;
  /** A write ends after so many bytes, as in a crash: nothing after it happens. */
  tearAfter: number | null = null;
  #isCrashed = false;

  async claim(): Promise<void> {
    this.#isCrashed = false;
  }

  async list(directory: string) {
    return [...this.contents]
      .filter(([path]) => dirname(path) === directory)
      .map(([path, { length }]) => ({ name: basename(path), byteCount: length }));
  }

  async capacity(): Promise<number> {
    return this.capacityByteCount;
  }

  async write(path: string, parts: readonly Buffer[]): Promise<void> {
    this.#live();
    const bytes = Buffer.concat(parts);
    if (this.writeError !== null) {
      this.contents.set(path, bytes.subarray(0, bytes.length / 2));
      throw Object.assign(new Error(this.writeError), { code: this.writeError });
    }
    if (this.tearAfter !== null) {
      this.contents.set(path, Buffer.from(bytes.subarray(0, this.tearAfter)));
      this.#isCrashed = true;
    }
    this.#live();
    this.contents.set(path, bytes);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#live();
    const bytes = this.contents.get(from);
    if (bytes === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    this.contents.delete(from);
    this.contents.set(to, bytes);
  }

  async remove(path: string): Promise<void> {
    this.#live();
    this.contents.delete(path);
  }

  async open(path: string): Promise<OpenFile> {
    const bytes = this.contents.get(path);
    if (bytes === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    return {
      read: async (into, offset) => {
        if (this.readError !== null) {
          throw Object.assign(new Error(this.readError), { code: this.readError });
        }
        return bytes.copy(into, 0, offset, offset + into.length) === into.length;
      },
      close: async () => {},
    };
  }

  async close(): Promise<void> {}

  #live(): void {
    if (this.#isCrashed) throw Object.assign(new Error('crashed'), { code: 'EIO' });
  }
}
