import { parseStatus, statusByteCount } from './data-protocol.ts';

export type ReplyOutcome =
  | { readonly kind: 'complete' }
  | { readonly kind: 'rejected'; readonly code: number }
  | { readonly kind: 'malformed' };

const nothing = Buffer.alloc(0);
const complete: ReplyOutcome = { kind: 'complete' };

/** The initiator's view of one answer: a status in version 2, then the bytes of a read. */
export class ReplyReader {
  #isStatusDue: boolean;
  /** The beginning of a status that was cut in two. */
  #cutStatus: Buffer = nothing;
  /** What of the caller's buffer is not yet filled. */
  #missing: Buffer;
  #outcome: ReplyOutcome | null = null;

  constructor(version: 1 | 2, into: Buffer) {
    this.#isStatusDue = version === 2;
    this.#missing = into;
  }

  /** Null until the answer has ended. */
  get outcome(): ReplyOutcome | null {
    return this.#outcome;
  }

  /** Of the bytes of a read. */
  get missingByteCount(): number {
    return this.#missing.length;
  }

  /** The memory that the next bytes of the connection belong to; null while they are a status. */
  get destination(): Buffer | null {
    return !this.#isStatusDue && this.#missing.length > 0 ? this.#missing : null;
  }

  /** Copies what belongs to this answer. Answers how much that was. */
  push(chunk: Buffer): number {
    let consumed = 0;
    if (this.#isStatusDue) {
      consumed = Math.min(chunk.length, statusByteCount - this.#cutStatus.length);
      let status = chunk;
      if (this.#cutStatus.length > 0 || chunk.length < statusByteCount) {
        status = Buffer.concat([this.#cutStatus, chunk.subarray(0, consumed)]);
      }
      if (status.length < statusByteCount) {
        this.#cutStatus = status;
        return consumed;
      }
      const code = parseStatus(status);
      this.#isStatusDue = false;
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
