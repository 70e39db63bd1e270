/** Text exposition format 0.0.4 of Prometheus, as far as an instance needs it. */
export const prometheusContentType = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string>>;

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** Lines without the name's prefix: suffix, labels, value. */
  samples(): readonly (readonly [suffix: string, labels: Labels, value: number])[];
}

export interface Counter {
  add(count: number, label?: string): void;
}

export interface Histogram {
  observe(value: number): void;
}

/** Numbers of one process, told as text. Every metric carries the registry's labels. */
export class MetricRegistry {
  readonly #labels: Labels;
  readonly #metrics: Metric[] = [];

  constructor(labels: Labels) {
    this.#labels = labels;
  }

  /** `label` splits the counter by one label with these values, all of them told from the start. */
  counter(
    name: string,
    help: string,
    label?: { readonly name: string; readonly values: readonly string[] },
  ): Counter {
    const counts = new Map((label?.values ?? ['']).map((value) => [value, 0]));
    this.#metrics.push({
      name,
      help,
      type: 'counter',
      samples: () =>
        [...counts].map(
          ([value, count]) =>
            ['', label === undefined ? {} : { [label.name]: value }, count] as const,
        ),
    });
    return {
      add: (count, value = '') => counts.set(value, (counts.get(value) ?? 0) + count),
    };
  }

  /** A number that is read when it is asked for, such as a count that others keep. */
  observed(type: 'counter' | 'gauge', name: string, help: string, read: () => number): void {
    this.#metrics.push({ name, help, type, samples: () => [['', {}, read()]] });
  }

  /** As `observed`, split by one label. */
  observedBy(
    type: 'counter' | 'gauge',
    name: string,
    help: string,
    label: string,
    read: () => Readonly<Record<string, number>>,
  ): void {
    this.#metrics.push({
      name,
      help,
      type,
      samples: () =>
        Object.entries(read()).map(([value, count]) => ['', { [label]: value }, count] as const),
    });
  }

  /** `bounds` ascend; the bucket of all is added. */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const counts = Array.from({ length: bounds.length + 1 }, () => 0);
    let sum = 0;
    this.#metrics.push({
      name,
      help,
      type: 'histogram',
      samples: () => {
        let cumulated = 0;
        const buckets = counts.map((count, index) => {
          cumulated += count;
          return ['_bucket', { le: String(bounds[index] ?? '+Inf') }, cumulated] as const;
        });
        return [...buckets, ['_sum', {}, sum], ['_count', {}, cumulated]] as const;
      },
    });
    return {
      observe: (value) => {
        const index = bounds.findIndex((bound) => value <= bound);
        const bucket = index < 0 ? bounds.length : index;
        counts[bucket] = (counts[bucket] ?? 0) + 1;
        sum += value;
      },
    };
  }

  render(): string {
    const lines: string[] = [];
    for (const metric of this.#metrics) {
      lines.push(`# HELP ${metric.name} ${metric.help}`, `# TYPE ${metric.name} ${metric.type}`);
      for (const [suffix, labels, value] of metric.samples()) {
        lines.push(`${metric.name}${suffix}${this.#text(labels)} ${value}`);
      }
    }
    return `${lines.join('\n')}\n`;
  }

  #text(labels: Labels): string {
    const pairs = Object.entries({ ...this.#labels, ...labels }).map(
      ([name, value]) =>
        `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
    );
    return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
  }
}
