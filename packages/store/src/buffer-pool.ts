import { assert, type CancelSignal, Fault } from '@tsukimi/base';

/** Memory on loan. Whoever took it gives it back exactly once and never touches it afterwards. */
export interface PooledBuffer {
  /** As long as was asked for; holds whatever was in it before. */
  readonly bytes: Buffer;
  release(): void;
}

export interface BufferPoolOptions {
  /** Lent and kept together never exceed this. */
  readonly byteCountMax: number;
}

interface Waiting {
  readonly byteCount: number;
  readonly grant: (buffer: PooledBuffer) => void;
}

/**
 * Buffers that are used again, because fresh memory costs a page fault for every 4 KiB of it, and a
 * limit on how much of it there is at a time.
 */
export class BufferPool {
  readonly #byteCountMax: number;
  /** Idle memory by its capacity. */
  readonly #idle = new Map<number, Buffer[]>();
  #idleByteCount = 0;
  #lentByteCount = 0;
  #waiting: Waiting[] = [];

  constructor({ byteCountMax }: BufferPoolOptions) {
    this.#byteCountMax = byteCountMax;
  }

  get lentByteCount(): number {
    return this.#lentByteCount;
  }

  /** Null when the limit leaves no room now, or when others wait already. */
  tryTake(byteCount: number): PooledBuffer | null {
    return this.#waiting.length === 0 && this.#fits(byteCount) ? this.#lend(byteCount) : null;
  }

  /** Waits for its turn, first come, first served. Rejects with the signal's reason, or TOO_LARGE. */
  take(byteCount: number, signal: CancelSignal): Promise<PooledBuffer> {
    if (capacityFor(byteCount) > this.#byteCountMax) {
      return Promise.reject(
        new Fault(
          'TOO_LARGE',
          `${byteCount} bytes do not fit the buffer pool of ${this.#byteCountMax} bytes; raise its limit`,
        ),
      );
    }
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    const now = this.tryTake(byteCount);
    if (now !== null) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting = this.#waiting.filter((other) => other !== entry);
        reject(signal.reason as Error);
        // Whoever stood behind a large request may fit now.
        this.#serve();
      };
      const entry: Waiting = {
        byteCount,
        grant: (buffer) => {
          signal.removeEventListener('abort', abort);
          resolve(buffer);
        },
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.push(entry);
    });
  }

  checkInvariants(): void {
    let idleByteCount = 0;
    for (const [capacity, buffers] of this.#idle) {
      idleByteCount += capacity * buffers.length;
      assert(
        buffers.every((buffer) => buffer.length === capacity),
        'idle memory lies under its capacity',
      );
    }
    assert(idleByteCount === this.#idleByteCount, 'idle bytes are counted');
    assert(this.#lentByteCount >= 0, 'nothing is given back that was not lent');
    assert(
      this.#idleByteCount + this.#lentByteCount <= this.#byteCountMax,
      'the pool stays within its limit',
    );
    const first = this.#waiting[0];
    assert(first === undefined || !this.#fits(first.byteCount), 'nobody waits for what is there');
  }

  #fits(byteCount: number): boolean {
    return this.#lentByteCount + capacityFor(byteCount) <= this.#byteCountMax;
  }

  #lend(byteCount: number): PooledBuffer {
    const capacity = capacityFor(byteCount);
    const memory = this.#idle.get(capacity)?.pop() ?? null;
    if (memory !== null) this.#idleByteCount -= capacity;
    else this.#dropIdle(this.#byteCountMax - this.#lentByteCount - capacity);
    const whole = memory ?? Buffer.allocUnsafeSlow(capacity);
    this.#lentByteCount += capacity;
    let lent = true;
    return {
      bytes: whole.subarray(0, byteCount),
      release: () => {
        assert(lent, 'a pooled buffer is released once');
        lent = false;
        this.#lentByteCount -= capacity;
        this.#idleByteCount += capacity;
        const shelf = this.#idle.get(capacity);
        if (shelf === undefined) this.#idle.set(capacity, [whole]);
        else shelf.push(whole);
        this.#serve();
      },
    };
  }

  /** Forgets idle memory of other sizes until at most `byteCountMax` bytes of it are left. */
  #dropIdle(byteCountMax: number): void {
    for (const [capacity, buffers] of this.#idle) {
      while (this.#idleByteCount > byteCountMax && buffers.pop() !== undefined) {
        this.#idleByteCount -= capacity;
      }
      if (buffers.length === 0) this.#idle.delete(capacity);
      if (this.#idleByteCount <= byteCountMax) return;
    }
  }

  #serve(): void {
    for (;;) {
      const first = this.#waiting[0];
      if (first === undefined || !this.#fits(first.byteCount)) return;
      this.#waiting.shift();
      first.grant(this.#lend(first.byteCount));
    }
  }
}

/** Rounded up so that sizes that are nearly the same share memory: to a power of two, then to 256 KiB. */
function capacityFor(byteCount: number): number {
  const step = 256 * 1024;
  if (byteCount >= step) return Math.ceil(byteCount / step) * step;
  return Math.max(4096, 2 ** Math.ceil(Math.log2(Math.max(1, byteCount))));
}
