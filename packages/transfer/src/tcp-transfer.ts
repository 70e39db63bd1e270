import { type Clock, Fault } from '@tsukimi/base';
import type { DataRequest } from './data-protocol.ts';
import type { LanePool } from './lane-pool.ts';
import type { LaneJob, TcpLane } from './tcp-lane.ts';
import type { TransferLimit } from './transport.ts';

/** Pieces of one transfer that travel over different connections have at least so many bytes. */
const stripeByteCountMin = 4 * 2 ** 20;

/**
 * One read or write as one request, or as several over different connections when it is large. Settles
 * only when no part is under way any more, since until then its bytes may be touched.
 */
export function transferOver(
  pool: LanePool,
  request: DataRequest,
  bytes: Buffer,
  { signal, endsAtMs }: TransferLimit,
  clock: Clock,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let fault: unknown = null;
    let openCount = 0;
    const parts: Part[] = [];
    const fail = (reason: unknown) => {
      if (fault !== null) return;
      fault = reason;
      if (openCount > 0) for (const part of parts) part.cancel(reason);
    };
    const abort = () => fail(signal?.reason);
    const settled = (partFault: unknown) => {
      openCount -= 1;
      if (partFault !== null) fail(partFault);
      if (openCount > 0) return;
      timer.cancel();
      signal?.removeEventListener('abort', abort);
      if (fault === null) resolve();
      else reject(fault as Error);
    };
    const timer = clock.schedule(Math.max(0, endsAtMs - clock.monotonicMs()), () =>
      fail(
        new Fault('DEADLINE_PASSED', `a ${request.kind} of ${bytes.length} bytes took too long`),
      ),
    );
    signal?.addEventListener('abort', abort, { once: true });
    const count = Math.min(pool.laneCountMax, Math.floor(bytes.length / stripeByteCountMin));
    const partByteCount = count > 1 ? Math.ceil(bytes.length / count) : bytes.length;
    for (let at = 0; at < bytes.length; at += partByteCount) {
      parts.push(new Part(pool, ...piece(request, bytes, at, partByteCount), settled));
    }
    openCount = parts.length;
    for (const part of parts) part.start();
  });
}

function piece(
  request: DataRequest,
  bytes: Buffer,
  at: number,
  byteCountMax: number,
): [DataRequest, Buffer] {
  if (byteCountMax === bytes.length) return [request, bytes];
  const part = bytes.subarray(at, at + byteCountMax);
  const address = request.address + BigInt(at);
  return [{ ...request, address, byteCount: BigInt(part.length) }, part];
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
