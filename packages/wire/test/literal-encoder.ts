/**
 * A second encoder, driven by nothing but a type literal: it knows no call and no codec. Random values
 * that it writes must be read by the codec of that type, and written again to the same bytes.
 */
type Below = (count: number) => number;

export class LiteralEncoder {
  readonly #literal: Buffer;
  readonly #below: Below;
  readonly #width: 1 | 2 | 4;
  readonly #out: Buffer[] = [];
  #byteCount = 0;
  #at = 0;

  constructor(literal: Buffer, width: 1 | 2 | 4, below: Below) {
    this.#literal = literal;
    this.#width = width;
    this.#below = below;
  }

  /** Bytes of one random value of the literal's type. */
  encode(): Buffer {
    while (this.#at < this.#literal.length) this.#value();
    return Buffer.concat(this.#out);
  }

  #value(): void {
    const id = this.#literal[this.#at++] as number;
    switch (id) {
      case 0x01:
      case 0x02:
        return this.#random(4);
      case 0x03:
      case 0x04:
        // Most are sizes and times, which we hold as doubles.
        return this.#push(
          le(BigInt(this.#below(2 ** 21)) * 2n ** 32n + BigInt(this.#below(2 ** 32)), 8),
        );
      case 0x06:
        return this.#random(1);
      case 0x0b:
        return this.#push(Buffer.of(this.#below(2)));
      case 0x80:
        this.#at += 1;
        return this.#text();
      case 0x82:
        return this.#repeat(2);
      case 0x84:
        return this.#repeat(1);
      case 0x85:
        return this.#optional();
      case 0x86:
        return this.#variant();
      case 0x87:
        return this.#expected();
      case 0xfa:
        return undefined;
      case 0xfd:
        return this.#struct();
      default:
        throw new Error(`type id ${id.toString(16)}`);
    }
  }

  #struct(): void {
    const start = this.#byteCount;
    while ((this.#literal[this.#at] as number) !== 0xff) {
      // Alignments end a type that travels as it lies in memory: here, always that of a u64.
      if (this.#literal.readUInt16BE(this.#at) === 0x8989) {
        this.#at += 2;
        continue;
      }
      const isWord = [0x03, 0x04].includes(this.#literal[this.#at] as number);
      if (isWord && this.#isImage()) this.#push(Buffer.alloc(-(this.#byteCount - start) & 7));
      this.#value();
    }
    this.#at += 1;
  }

  /** Whether the members from here on are words, up to alignments. */
  #isImage(): boolean {
    let at = this.#at;
    while (this.#literal[at] === 0x04) at += 1;
    return at + 1 < this.#literal.length && this.#literal.readUInt16BE(at) === 0x8989;
  }

  #repeat(partCount: number): void {
    const count = this.#below(4);
    this.#push(le(BigInt(count), this.#width));
    const from = this.#at;
    for (let index = 0; index < count; index++) {
      this.#at = from;
      for (let part = 0; part < partCount; part++) this.#value();
    }
    if (count > 0) return;
    for (let part = 0; part < partCount; part++) this.#at = this.#end(this.#at);
  }

  #optional(): void {
    const isThere = this.#below(2);
    this.#push(Buffer.of(isThere));
    if (isThere === 1) this.#value();
    else this.#at = this.#end(this.#at);
  }

  #variant(): void {
    const starts: number[] = [];
    while (this.#literal[this.#at] !== 0xff) {
      starts.push(this.#at);
      this.#at = this.#end(this.#at);
    }
    const after = this.#at + 1;
    const index = this.#below(starts.length);
    this.#push(Buffer.of(index));
    this.#at = starts[index] as number;
    this.#value();
    this.#at = after;
  }

  #expected(): void {
    const valueAt = this.#at;
    const errorAt = this.#end(valueAt);
    const isOk = this.#below(4) > 0;
    this.#push(Buffer.of(isOk ? 1 : 0));
    this.#at = isOk ? valueAt : errorAt;
    this.#value();
    this.#at = this.#end(errorAt);
  }

  /** Where the type that begins at `at` ends. */
  #end(at: number): number {
    const id = this.#literal[at] as number;
    if (id === 0x80) return at + 2;
    if (id === 0x84 || id === 0x85) return this.#end(at + 1);
    if (id === 0x82 || id === 0x87) return this.#end(this.#end(at + 1));
    if (id !== 0x86 && id !== 0xfd) return at + 1;
    let end = at + 1;
    while (this.#literal[end] !== 0xff)
      end = this.#literal[end] === 0x89 ? end + 1 : this.#end(end);
    return end + 1;
  }

  /** At most 60 bytes: some fields are not allowed more. */
  #text(): void {
    const characters = ['a', '/', '0', '-', 'ü', '月', '🥮'];
    const picked = Array.from({ length: this.#below(16) }, () => this.#below(characters.length));
    const bytes = Buffer.from(picked.map((index) => characters[index]).join(''));
    this.#push(le(BigInt(bytes.length), this.#width));
    this.#push(bytes);
  }

  #random(byteCount: number): void {
    this.#push(Buffer.from(Array.from({ length: byteCount }, () => this.#below(256))));
  }

  #push(bytes: Buffer): void {
    this.#out.push(bytes);
    this.#byteCount += bytes.length;
  }
}

function le(value: bigint, byteCount: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.subarray(0, byteCount);
}
