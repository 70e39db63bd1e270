/** What is to be hashed next, in memory that is used again and again. */
export class HashInput {
  #buffer = Buffer.allocUnsafe(4_096);
  #length = 0;

  /** As long as nothing else is written. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  clear(): void {
    this.#length = 0;
  }

  byte(value: number): void {
    this.#room(1);
    this.#buffer[this.#length] = value;
    this.#length += 1;
  }

  /** A big-endian number of two bytes. */
  uint16BE(value: number): void {
    this.#room(2);
    this.#length = this.#buffer.writeUInt16BE(value, this.#length);
  }

  uint32BE(value: number): void {
    this.#room(4);
    this.#length = this.#buffer.writeUInt32BE(value, this.#length);
  }

  uint16LE(value: number): void {
    this.#room(2);
    this.#length = this.#buffer.writeUInt16LE(value, this.#length);
  }

  uint32LE(value: number): void {
    this.#room(4);
    this.#length = this.#buffer.writeUInt32LE(value, this.#length);
  }

  copy(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** In place of four bytes that were written at `at`. */
  replaceUint32LE(at: number, value: number): void {
    this.#buffer.writeUInt32LE(value, at);
  }

  #room(byteCount: number): void {
    if (this.#length + byteCount <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.#length + byteCount));
    larger.set(this.bytes);
    this.#buffer = larger;
  }
}
