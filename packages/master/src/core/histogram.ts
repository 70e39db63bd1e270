/** Counts values by how large they are, as Prometheus wants them. */
export class Histogram {
  /** Upper bounds, inclusive, rising; what is larger than all of them is counted too. */
  readonly bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = [...bounds, 0].map(() => 0);
  }

  get sum(): number {
    return this.#sum;
  }

  /** Of all values, how many are not above each bound; and last, how many there are. */
  get cumulativeCounts(): number[] {
    let total = 0;
    return this.#counts.map((count) => {
      total += count;
      return total;
    });
  }

  observe(value: number): void {
    let index = 0;
    while (index < this.bounds.length && value > (this.bounds[index] as number)) index += 1;
    this.#counts[index] = (this.#counts[index] as number) + 1;
    this.#sum += value;
  }
}
