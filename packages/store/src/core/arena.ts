import { assert } from '@tsukimi/base';

interface Run {
  readonly offset: number;
  readonly byteCount: number;
}

/** Parts of one memory, first fit. Offsets and sizes are multiples of `alignment`. */
export class Arena {
  readonly #byteCount: number;
  readonly #alignment: number;
  /** By offset; no two touch. */
  #free: Run[];
  readonly #taken = new Map<number, number>();

  constructor(byteCount: number, alignment: number) {
    this.#byteCount = byteCount - (byteCount % alignment);
    this.#alignment = alignment;
    this.#free = this.#byteCount > 0 ? [{ offset: 0, byteCount: this.#byteCount }] : [];
  }

  get takenCount(): number {
    return this.#taken.size;
  }

  /** The offset; null where no run is long enough. */
  take(byteCount: number): number | null {
    const wanted = Math.max(1, Math.ceil(byteCount / this.#alignment)) * this.#alignment;
    const at = this.#free.findIndex((run) => run.byteCount >= wanted);
    const run = this.#free[at];
    if (run === undefined) return null;
    const rest = { offset: run.offset + wanted, byteCount: run.byteCount - wanted };
    this.#free.splice(at, 1, ...(rest.byteCount > 0 ? [rest] : []));
    this.#taken.set(run.offset, wanted);
    return run.offset;
  }

  giveBack(offset: number): void {
    const byteCount = this.#taken.get(offset);
    assert(byteCount !== undefined, 'only what was taken is given back, once');
    this.#taken.delete(offset);
    const after = this.#free.findIndex((run) => run.offset > offset);
    const at = after < 0 ? this.#free.length : after;
    const left = this.#free[at - 1];
    const right = this.#free[at];
    const joinsLeft = left !== undefined && left.offset + left.byteCount === offset;
    const joinsRight = right !== undefined && offset + byteCount === right.offset;
    this.#free.splice(at - (joinsLeft ? 1 : 0), (joinsLeft ? 1 : 0) + (joinsRight ? 1 : 0), {
      offset: joinsLeft ? left.offset : offset,
      byteCount: byteCount + (joinsLeft ? left.byteCount : 0) + (joinsRight ? right.byteCount : 0),
    });
  }

  checkInvariants(): void {
    const taken = [...this.#taken].map(([offset, byteCount]) => ({ offset, byteCount }));
    const runs = [...taken, ...this.#free].sort((left, right) => left.offset - right.offset);
    let end = 0;
    for (const { offset, byteCount } of runs) {
      assert(offset === end, 'every byte is taken or free, not both');
      assert(byteCount > 0 && byteCount % this.#alignment === 0, 'runs are aligned');
      end += byteCount;
    }
    assert(end === this.#byteCount, 'the whole memory is accounted for');
    for (const [at, run] of this.#free.entries()) {
      const next = this.#free[at + 1];
      assert(
        next === undefined || run.offset + run.byteCount < next.offset,
        'free runs are joined',
      );
    }
  }
}
