import { parseStatus, statusByteCount } from './data-protocol.ts';

export type ReplyOutcome =
  | { readonly kind: 'complete' }
  | { readonly kind: 'rejected'; readonly code: number }
  | { readonly kind: 'malformed' };

const complete: ReplyOutcome = { kind: 'complete' };

/** The initiator's view of one answer: a status in version 2, then the bytes of a read. */
export class ReplyReader {
  /** Null where no status is due, or none any more. */
  #status: Buffer | null;
  #statusByteCount = 0;
  /** What of the caller's buffer is not yet filled. */
  #missing: Buffer;
  #outcome: ReplyOutcome | null = null;
  #hasBegun = false;

  constructor(version: 1 | 2, into: Buffer) {
    this.#status = version === 2 ? Buffer.allocUnsafe(statusByteCount) : null;
    this.#missing = into;
  }

  /** Null until the answer has ended. */
  get outcome(): ReplyOutcome | null {
    return this.#outcome;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** The memory that the next bytes of the connection belong to; null while they are a status. */
  get destination(): Buffer | null {
    return this.#status === null && this.#missing.length > 0 ? this.#missing : null;
  }

  /** Copies what belongs to this answer. Answers how much that was. */
  push(chunk: Buffer): number {
    this.#hasBegun = true;
    let consumed = 0;
    if (this.#status !== null) {
      consumed = chunk.copy(this.#status, this.#statusByteCount);
      this.#statusByteCount += consumed;
      if (this.#statusByteCount < statusByteCount) return consumed;
      const code = parseStatus(this.#status);
      this.#status = null;
      if (code !== 0) {
        this.#outcome = code === null ? { kind: 'malformed' } : { kind: 'rejected', code };
        return consumed;
      }
    }
    const copied = chunk.copy(this.#missing, 0, consumed);
    this.filled(copied);
    return consumed + copied;
  }

  /** The first `byteCount` bytes of `destination` have arrived in it. */
  filled(byteCount: number): void {
    this.#missing = this.#missing.subarray(byteCount);
    if (this.#missing.length === 0) this.#outcome = complete;
  }
}
