import { type FileHandle, open } from 'node:fs/promises';
import { Fault } from '@tsukimi/base';

/** What the head of a GGUF file says, without its weights. Fields that the file lacks are null. */
export interface GgufHeader {
  readonly version: number;
  readonly tensorCount: number;
  readonly byteCount: number;
  readonly architecture: string;
  readonly name: string | null;
  readonly contextLength: number | null;
  readonly blockCount: number | null;
  readonly embeddingLength: number | null;
  readonly headCount: number | null;
  /** Of every layer; the largest where layers differ. */
  readonly headCountKv: number | null;
  readonly keyLength: number | null;
  readonly valueLength: number | null;
  readonly chatTemplate: boolean;
}

/** `enum gguf_type`: byte counts of the scalars; 8 is a string, 9 an array. */
const scalarByteCounts = new Map([
  [0, 1],
  [1, 1],
  [2, 2],
  [3, 2],
  [4, 4],
  [5, 4],
  [6, 4],
  [7, 1],
  [10, 8],
  [11, 8],
  [12, 8],
]);
const stringType = 8;
const arrayType = 9;
const headByteCountMax = 512 * 2 ** 20;
const entryCountMax = 100_000;
const keptByteCountMax = 4_096;

/**
 * Reads the metadata of a GGUF file (version 2 and 3, little endian) as described in ggml's `docs/gguf.md`.
 * Faults: NOT_FOUND, MALFORMED; both name the file.
 */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw new Fault('NOT_FOUND', `the model ${path} cannot be opened: ${String(error)}`, {
      cause: error,
    });
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Fault('MALFORMED', `${path} is not a file`);
    return await readHeader(new Cursor(file, path, stat.size));
  } finally {
    await file.close();
  }
}

async function readHeader(cursor: Cursor): Promise<GgufHeader> {
  if ((await cursor.take(4)).toString('latin1') !== 'GGUF') {
    throw cursor.malformed('it does not begin with GGUF');
  }
  const version = await cursor.uint32();
  if (version !== 2 && version !== 3) {
    throw cursor.malformed(`its version ${version} is neither 2 nor 3`);
  }
  const tensorCount = await cursor.count('tensors');
  const entryCount = await cursor.count('metadata entries');
  const values = new Map<string, Value>();
  for (let index = 0; index < entryCount; index++) {
    const key = await cursor.string();
    values.set(key ?? '', await cursor.value(await cursor.uint32()));
  }
  const text = (key: string) => {
    const value = values.get(key);
    return typeof value === 'string' ? value : null;
  };
  const architecture = text('general.architecture');
  if (architecture === null) throw cursor.malformed('it names no architecture');
  const number = (key: string) => {
    const value = values.get(`${architecture}.${key}`);
    return typeof value === 'number' ? value : null;
  };
  const headCount = number('attention.head_count');
  const embeddingLength = number('embedding_length');
  const headLength =
    headCount === null || headCount === 0 || embeddingLength === null
      ? null
      : embeddingLength / headCount;
  return {
    version,
    tensorCount,
    byteCount: cursor.fileByteCount,
    architecture,
    name: text('general.name'),
    contextLength: number('context_length'),
    blockCount: number('block_count'),
    embeddingLength,
    headCount,
    headCountKv: number('attention.head_count_kv') ?? headCount,
    keyLength: number('attention.key_length') ?? headLength,
    valueLength: number('attention.value_length') ?? headLength,
    chatTemplate: values.has('tokenizer.chat_template'),
  };
}

/** Numbers of an array are represented by the largest; strings of an array and long strings are not kept. */
type Value = string | number | null;

/** Reads a file forward through one buffer; whatever a length field says, no more than the file holds is read. */
class Cursor {
  readonly fileByteCount: number;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #window = Buffer.allocUnsafe(1 << 16);
  #windowAt = 0;
  #windowByteCount = 0;
  #at = 0;

  constructor(file: FileHandle, path: string, fileByteCount: number) {
    this.#file = file;
    this.#path = path;
    this.fileByteCount = fileByteCount;
  }

  malformed(why: string): Fault {
    return new Fault('MALFORMED', `${this.#path} is not a usable GGUF file: ${why}`);
  }

  /** Valid until the next call; at most the window's size. */
  async take(byteCount: number): Promise<Buffer> {
    this.#bound(byteCount);
    if (
      this.#at + byteCount > this.#windowAt + this.#windowByteCount ||
      this.#at < this.#windowAt
    ) {
      await this.#fill();
    }
    const from = this.#at - this.#windowAt;
    if (from + byteCount > this.#windowByteCount) throw this.malformed('it ends too early');
    this.#at += byteCount;
    return this.#window.subarray(from, from + byteCount);
  }

  async uint32(): Promise<number> {
    return (await this.take(4)).readUInt32LE(0);
  }

  async count(what: string): Promise<number> {
    const count = (await this.take(8)).readBigUInt64LE(0);
    if (count > BigInt(entryCountMax)) throw this.malformed(`it claims ${count} ${what}`);
    return Number(count);
  }

  /** Null when it is too long to keep. */
  async string(): Promise<string | null> {
    const byteCount = await this.#length();
    if (byteCount > keptByteCountMax) {
      this.#skip(byteCount);
      return null;
    }
    return (await this.take(byteCount)).toString('utf8');
  }

  async value(type: number): Promise<Value> {
    if (type === stringType) return this.string();
    if (type === arrayType) return this.#array();
    const byteCount = scalarByteCounts.get(type);
    if (byteCount === undefined) throw this.malformed(`it has a value of unknown type ${type}`);
    return readScalar(type, await this.take(byteCount));
  }

  async #array(): Promise<Value> {
    const type = await this.uint32();
    const count = await this.#length();
    const byteCount = scalarByteCounts.get(type);
    if (type === stringType) {
      for (let index = 0; index < count; index++) this.#skip(await this.#length());
      return null;
    }
    if (byteCount === undefined) throw this.malformed(`it has an array of unknown type ${type}`);
    if (count > keptByteCountMax) {
      this.#skip(count * byteCount);
      return null;
    }
    let largest: Value = null;
    for (let index = 0; index < count; index++) {
      const number = readScalar(type, await this.take(byteCount));
      if (number !== null && (largest === null || number > largest)) largest = number;
    }
    return largest;
  }

  async #length(): Promise<number> {
    const length = (await this.take(8)).readBigUInt64LE(0);
    if (length > BigInt(this.fileByteCount)) throw this.malformed('it ends too early');
    return Number(length);
  }

  #skip(byteCount: number): void {
    this.#bound(byteCount);
    this.#at += byteCount;
  }

  #bound(byteCount: number): void {
    if (this.#at + byteCount > this.fileByteCount) throw this.malformed('it ends too early');
    if (this.#at + byteCount > headByteCountMax) throw this.malformed('its head is too long');
  }

  async #fill(): Promise<void> {
    this.#windowAt = this.#at;
    const { bytesRead } = await this.#file.read(this.#window, 0, this.#window.length, this.#at);
    this.#windowByteCount = bytesRead;
  }
}

function readScalar(type: number, bytes: Buffer): number | null {
  switch (type) {
    case 0:
    case 7:
      return bytes.readUInt8(0);
    case 1:
      return bytes.readInt8(0);
    case 2:
      return bytes.readUInt16LE(0);
    case 3:
      return bytes.readInt16LE(0);
    case 4:
      return bytes.readUInt32LE(0);
    case 5:
      return bytes.readInt32LE(0);
    case 6:
      return bytes.readFloatLE(0);
    case 10:
      return Number(bytes.readBigUInt64LE(0));
    case 11:
      return Number(bytes.readBigInt64LE(0));
    case 12:
      return bytes.readDoubleLE(0);
    default:
      return null;
  }
}
