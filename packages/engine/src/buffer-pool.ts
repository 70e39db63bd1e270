export interface PooledBuffer {
  readonly bytes: Buffer;
  /** Harmless when repeated. */
  release(): void;
}

const roundedTo = 1 << 20;

/** A few large buffers that are used again and again: fresh memory of this size costs more than the copy into it. */
export class BufferPool {
  readonly #countMax: number;
  #idle: Buffer[] = [];
  #lentCount = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** Null when all are in use. */
  take(byteCount: number): PooledBuffer | null {
    if (this.#lentCount >= this.#countMax) return null;
    const fitting = this.#idle.findIndex((buffer) => buffer.length >= byteCount);
    let buffer = fitting < 0 ? undefined : this.#idle.splice(fitting, 1)[0];
    if (buffer === undefined) {
      // One that is too small makes room, so that lent and idle together keep the limit.
      if (this.#idle.length + this.#lentCount >= this.#countMax) this.#idle.shift();
      buffer = Buffer.allocUnsafeSlow(Math.ceil(byteCount / roundedTo) * roundedTo);
    }
    this.#lentCount++;
    const bytes = buffer;
    let lent = true;
    return {
      bytes,
      release: () => {
        if (!lent) return;
        lent = false;
        this.#lentCount--;
        this.#idle.push(bytes);
      },
    };
  }
}
