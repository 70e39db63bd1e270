import { okStatus, parseRequest, rejectedStatus, requestByteCount } from './data-protocol.ts';

/** The bytes of a range of registered memory, or null. */
export type ResolveMemory = (address: bigint, byteCount: bigint) => Buffer | null;

export interface TargetStep {
  /** How much of the chunk was used; the rest belongs to the next step, once `send` is on its way. */
  readonly consumedByteCount: number;
  readonly send: readonly Buffer[];
  /** After a rejected request nothing that follows can be understood. */
  readonly close: boolean;
}

/** The target's side of one data connection, without the connection. */
export class TargetSession {
  readonly #resolve: ResolveMemory;
  readonly #header = Buffer.alloc(requestByteCount);
  #headerByteCount = 0;
  /** What is still to be written of the request under way. */
  #destination: Buffer | null = null;
  #statusDue = false;

  constructor(resolve: ResolveMemory) {
    this.#resolve = resolve;
  }

  /** Whether a request has begun and not ended. */
  get isMidRequest(): boolean {
    return this.#headerByteCount > 0 || this.#destination !== null;
  }

  /** Uses `chunk` up to the end of a request, at the latest. Bytes of a write go straight to memory. */
  step(chunk: Buffer): TargetStep {
    let consumed = 0;
    if (this.#destination === null) {
      consumed = chunk.copy(this.#header, this.#headerByteCount);
      this.#headerByteCount += consumed;
      if (this.#headerByteCount < requestByteCount) return step(consumed);
      this.#headerByteCount = 0;
      const request = parseRequest(this.#header);
      const bytes = this.#resolve(request.address, request.byteCount);
      if (bytes === null) {
        return step(consumed, request.version === 2 ? [rejectedStatus] : [], true);
      }
      if (request.kind === 'read') {
        return step(consumed, request.version === 2 ? [okStatus, bytes] : [bytes]);
      }
      this.#destination = bytes;
      this.#statusDue = request.version === 2;
    }
    const copied = chunk.copy(this.#destination, 0, consumed);
    consumed += copied;
    if (copied < this.#destination.length) {
      this.#destination = this.#destination.subarray(copied);
      return step(consumed);
    }
    this.#destination = null;
    return step(consumed, this.#statusDue ? [okStatus] : []);
  }
}

function step(consumedByteCount: number, send: readonly Buffer[] = [], close = false): TargetStep {
  return { consumedByteCount, send, close };
}
