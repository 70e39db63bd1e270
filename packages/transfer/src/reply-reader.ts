import { parseStatus, statusByteCount } from './data-protocol.ts';

export type ReplyOutcome =
  | { readonly kind: 'complete' }
  | { readonly kind: 'rejected'; readonly code: number }
  | { readonly kind: 'malformed' };

/** The initiator's view of one answer: a status in version 2, then the bytes of a read. */
export class ReplyReader {
  readonly #status = Buffer.alloc(statusByteCount);
  #statusMissingCount: number;
  /** What of the caller's buffer is not yet filled. */
  #missing: Buffer;
  #outcome: ReplyOutcome | null = null;
  #byteCount = 0;

  constructor(version: 1 | 2, into: Buffer) {
    this.#statusMissingCount = version === 2 ? statusByteCount : 0;
    this.#missing = into;
  }

  /** Null until the answer has ended. */
  get outcome(): ReplyOutcome | null {
    return this.#outcome;
  }

  get hasBegun(): boolean {
    return this.#byteCount > 0;
  }

  /** Copies what belongs to the answer. One byte more than that is against the protocol. */
  push(chunk: Buffer): void {
    this.#byteCount += chunk.length;
    let offset = 0;
    if (this.#statusMissingCount > 0) {
      offset = chunk.copy(this.#status, statusByteCount - this.#statusMissingCount);
      this.#statusMissingCount -= offset;
      if (this.#statusMissingCount > 0) return;
      const code = parseStatus(this.#status);
      if (code !== 0) {
        this.#outcome = code === null ? { kind: 'malformed' } : { kind: 'rejected', code };
        return;
      }
    }
    const copied = chunk.copy(this.#missing, 0, offset);
    this.#missing = this.#missing.subarray(copied);
    if (offset + copied < chunk.length) this.#outcome = { kind: 'malformed' };
    else if (this.#missing.length === 0) this.#outcome = { kind: 'complete' };
  }
}
