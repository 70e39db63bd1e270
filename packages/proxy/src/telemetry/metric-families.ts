/**
 * One metric as it is told and added up: `samples` are its values by what follows the name, such as
 * `_bucket{stage="queue",le="1"}`; empty for a plain value.
 */
export interface MetricFamily {
  /** Without the prefix that all of the proxy's metrics have. */
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly doc: string;
  /** What several processes of one proxy tell is added, or the greatest of it counts. */
  readonly merge: 'sum' | 'max';
  readonly samples: Readonly<Record<string, number>>;
}

/** What several processes tell of the same metrics, as if one had told it. */
export function mergedFamilies(all: readonly (readonly MetricFamily[])[]): MetricFamily[] {
  const merged = new Map<string, MetricFamily & { samples: Record<string, number> }>();
  for (const family of all.flat()) {
    const known = merged.get(family.name);
    if (known === undefined) {
      merged.set(family.name, { ...family, samples: { ...family.samples } });
      continue;
    }
    for (const [key, value] of Object.entries(family.samples)) {
      const before = known.samples[key];
      if (before === undefined) known.samples[key] = value;
      else known.samples[key] = family.merge === 'sum' ? before + value : Math.max(before, value);
    }
  }
  return [...merged.values()];
}

/** Prometheus' text format, version 0.0.4. */
export function metricsText(families: readonly MetricFamily[]): string {
  const lines: string[] = [];
  for (const { name, type, doc, samples } of families) {
    lines.push(`# HELP tsukimi_proxy_${name} ${doc}`, `# TYPE tsukimi_proxy_${name} ${type}`);
    for (const [key, value] of Object.entries(samples)) {
      lines.push(`tsukimi_proxy_${name}${key} ${value}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
