/** Upper bounds in seconds: from what a hit takes to the first-byte deadline. */
const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] as const;

class Histogram {
  readonly #counts = [...bounds, Infinity].map(() => 0);
  #sum = 0;

  observe(seconds: number): void {
    let at = 0;
    while (at < bounds.length && seconds > (bounds[at] as number)) at += 1;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#sum += seconds;
  }

  lines(name: string, labels: string): string[] {
    let count = 0;
    const buckets = [...bounds, '+Inf'].map((bound, at) => {
      count += this.#counts[at] ?? 0;
      return `${name}_bucket{${labels},le="${bound}"} ${count}`;
    });
    return [...buckets, `${name}_sum{${labels}} ${this.#sum}`, `${name}_count{${labels}} ${count}`];
  }
}

const counterDocs = {
  requests_total: 'Requests for completions by endpoint and status.',
  retries_total: 'Attempts that failed and were made elsewhere, by leg and reason.',
  resumed_streams_total: 'Streams that went on at another instance.',
  prefill_skipped_total: 'Requests that no prefill instance took part in, by reason.',
  hedges_total: 'Second tries that began elsewhere while the first one was late.',
  kv_stranded_total:
    'Requests whose KVCache a prefill instance keeps until its own timer ends that.',
  stream_failures_total: 'Streams that ended with an error event.',
  store_waits_total:
    'Requests held back until what prefill computed was in the store, by how the wait ended.',
} as const;

export type CounterName = keyof typeof counterDocs;
export type Stage = 'prefill' | 'handover' | 'decode_first_byte' | 'decode';

/** Counts what happens and prints it in Prometheus' text format. */
export class ProxyMetrics {
  readonly #counters = new Map<CounterName, Map<string, number>>();
  readonly #stages: Record<Stage, Histogram> = {
    prefill: new Histogram(),
    handover: new Histogram(),
    decode_first_byte: new Histogram(),
    decode: new Histogram(),
  };

  /** `labels` is the text within the braces; its values come from small sets of ours. */
  count(name: CounterName, labels = ''): void {
    let series = this.#counters.get(name);
    if (series === undefined) {
      series = new Map();
      this.#counters.set(name, series);
    }
    series.set(labels, (series.get(labels) ?? 0) + 1);
  }

  observeMs(stage: Stage, elapsedMs: number): void {
    this.#stages[stage].observe(elapsedMs / 1_000);
  }

  /** `gauges` are complete lines by name, `name` or `name{label="value"}`. */
  text(gauges: Readonly<Record<string, number>>): string {
    const lines: string[] = [];
    for (const [name, doc] of Object.entries(counterDocs)) {
      lines.push(`# HELP tsukimi_proxy_${name} ${doc}`, `# TYPE tsukimi_proxy_${name} counter`);
      const series = this.#counters.get(name as CounterName) ?? new Map([['', 0]]);
      for (const [labels, value] of series) {
        lines.push(`tsukimi_proxy_${name}${labels === '' ? '' : `{${labels}}`} ${value}`);
      }
    }
    lines.push(
      '# HELP tsukimi_proxy_stage_seconds Time of the stages of a request.',
      '# TYPE tsukimi_proxy_stage_seconds histogram',
    );
    for (const [stage, histogram] of Object.entries(this.#stages)) {
      lines.push(...histogram.lines('tsukimi_proxy_stage_seconds', `stage="${stage}"`));
    }
    let family = '';
    for (const [name, value] of Object.entries(gauges)) {
      const base = name.replace(/\{.*/, '');
      if (base !== family) lines.push(`# TYPE tsukimi_proxy_${base} gauge`);
      family = base;
      lines.push(`tsukimi_proxy_${name} ${value}`);
    }
    return `${lines.join('\n')}\n`;
  }
}
