import { okStatus, parseRequest, rejectedStatus, requestByteCount } from './data-protocol.ts';

/** The bytes of a range of registered memory, or null. */
export type ResolveMemory = (address: bigint, byteCount: bigint) => Buffer | null;

export interface TargetStep {
  /** How much of the chunk was used; the rest belongs to the next step. */
  readonly consumedByteCount: number;
  readonly send: readonly Buffer[];
  /** Whether `send` shows memory, which no write may change before it has left. */
  readonly showsMemory: boolean;
  /** After a rejected request nothing that follows can be understood. */
  readonly close: boolean;
}

const nothing: readonly Buffer[] = [];
const confirmation: readonly Buffer[] = [okStatus];
const rejection: readonly Buffer[] = [rejectedStatus];

/** The target's side of one data connection, without the connection. */
export class TargetSession {
  readonly #resolve: ResolveMemory;
  readonly #header = Buffer.alloc(requestByteCount);
  #headerByteCount = 0;
  #destination: Buffer | null = null;
  #statusDue = false;
  #lastWriteByteCount = 0;

  constructor(resolve: ResolveMemory) {
    this.#resolve = resolve;
  }

  /** Whether a request has begun and not ended. */
  get isMidRequest(): boolean {
    return this.#headerByteCount > 0 || this.#destination !== null;
  }

  /** Of the request that came last; 0 for a read. */
  get lastWriteByteCount(): number {
    return this.#lastWriteByteCount;
  }

  /** The memory that the next bytes of the connection belong to; null when they are a header. */
  get destination(): Buffer | null {
    return this.#destination;
  }

  /** Uses `chunk` up to the end of a request, at the latest. Bytes of a write go straight to memory. */
  step(chunk: Buffer): TargetStep {
    let consumed = 0;
    if (this.#destination === null) {
      let header = chunk;
      if (this.#headerByteCount > 0 || chunk.length < requestByteCount) {
        consumed = chunk.copy(this.#header, this.#headerByteCount);
        this.#headerByteCount += consumed;
        if (this.#headerByteCount < requestByteCount) return step(consumed, nothing);
        this.#headerByteCount = 0;
        header = this.#header;
      } else consumed = requestByteCount;
      const request = parseRequest(header);
      const isConfirmed = request.version === 2;
      const bytes = this.#resolve(request.address, request.byteCount);
      if (bytes === null) {
        const send = isConfirmed ? rejection : nothing;
        return { consumedByteCount: consumed, send, showsMemory: false, close: true };
      }
      if (request.kind === 'read') {
        this.#lastWriteByteCount = 0;
        const send = isConfirmed ? [okStatus, bytes] : [bytes];
        return { consumedByteCount: consumed, send, showsMemory: true, close: false };
      }
      this.#destination = bytes;
      this.#lastWriteByteCount = bytes.length;
      this.#statusDue = isConfirmed;
    }
    const copied = chunk.copy(this.#destination, 0, consumed);
    return step(consumed + copied, this.filled(copied));
  }

  /** The first `byteCount` bytes of `destination` have arrived in it. Answers what is to be sent. */
  filled(byteCount: number): readonly Buffer[] {
    const destination = this.#destination as Buffer;
    if (byteCount < destination.length) {
      this.#destination = destination.subarray(byteCount);
      return nothing;
    }
    this.#destination = null;
    return this.#statusDue ? confirmation : nothing;
  }
}

function step(consumedByteCount: number, send: readonly Buffer[]): TargetStep {
  return { consumedByteCount, send, showsMemory: false, close: false };
}
