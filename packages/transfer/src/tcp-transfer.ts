import type { DataRequest } from './data-protocol.ts';
import type { LanePool } from './lane-pool.ts';
import type { LaneJob, TcpLane } from './tcp-lane.ts';

/** Pieces of one transfer that travel over different connections have at least so many bytes. */
const stripeByteCountMin = 4 * 2 ** 20;

/**
 * One read or write as one request, or as several over different connections when it is large. Settles
 * only when no part is under way any more, since until then its bytes may be touched.
 */
export function transferOver(
  pool: LanePool,
  kind: DataRequest['kind'],
  version: 1 | 2,
  address: bigint,
  bytes: Buffer,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    const parts: Part[] = [];
    let openCount = 0;
    let fault: unknown = null;
    const abort = () => {
      fault ??= signal.reason;
      for (const part of parts) part.cancel(fault);
    };
    const settled = (partFault: unknown) => {
      openCount -= 1;
      if (partFault !== null && fault === null) {
        fault = partFault;
        if (openCount > 0) for (const part of parts) part.cancel(fault);
      }
      if (openCount > 0) return;
      signal.removeEventListener('abort', abort);
      if (fault === null) resolve();
      else reject(fault as Error);
    };
    const count = Math.max(
      1,
      Math.min(pool.laneCountMax, Math.floor(bytes.length / stripeByteCountMin)),
    );
    const partByteCount = Math.ceil(bytes.length / count);
    openCount = count;
    for (let index = 0; index < count; index += 1) {
      const at = index * partByteCount;
      const piece = count === 1 ? bytes : bytes.subarray(at, at + partByteCount);
      const request = {
        kind,
        version,
        address: address + BigInt(at),
        byteCount: BigInt(piece.length),
      };
      parts.push(new Part(pool, request, piece, settled));
    }
    signal.addEventListener('abort', abort, { once: true });
    for (const part of parts) part.start();
  });
}

class Part implements LaneJob {
  readonly request: DataRequest;
  readonly bytes: Buffer;
  lane: TcpLane | null = null;
  readonly #pool: LanePool;
  readonly #settled: (fault: unknown) => void;
  #isSettled = false;
  #isRepeated = false;

  constructor(
    pool: LanePool,
    request: DataRequest,
    bytes: Buffer,
    settled: (fault: unknown) => void,
  ) {
    this.#pool = pool;
    this.request = request;
    this.bytes = bytes;
    this.#settled = settled;
  }

  start(): void {
    if (!this.#isSettled) this.#pool.start(this, false);
  }

  cancel(reason: unknown): void {
    if (!this.#isSettled) this.#pool.cancel(this, reason);
  }

  settle(fault: unknown, mayRepeat: 'idle' | 'other' | null): void {
    // A kept connection may have been closed by a peer that is well; a new one tells.
    const repeats = mayRepeat === 'other' || (mayRepeat === 'idle' && !this.#isRepeated);
    if (fault === null || !repeats) {
      this.#isSettled = true;
      this.#settled(fault);
      return;
    }
    if (mayRepeat === 'idle') this.#isRepeated = true;
    this.#pool.start(this, mayRepeat === 'idle');
  }
}
