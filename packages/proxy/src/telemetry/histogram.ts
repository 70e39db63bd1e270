/** Counts values by upper bounds. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** `bounds` rise; what exceeds the last one is counted too. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = [...bounds, Infinity].map(() => 0);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > (bounds[at] as number)) at += 1;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += value;
  }

  /** Adds its samples to `samples`, in Prometheus' way. `labels` is the text within the braces. */
  tell(samples: Record<string, number>, labels = ''): void {
    const before = labels === '' ? '' : `${labels},`;
    const braces = labels === '' ? '' : `{${labels}}`;
    let count = 0;
    [...this.#bounds, '+Inf'].forEach((bound, at) => {
      count += this.#counts[at] ?? 0;
      samples[`_bucket{${before}le="${bound}"}`] = count;
    });
    samples[`_sum${braces}`] = this.#sum;
    samples[`_count${braces}`] = count;
  }
}
