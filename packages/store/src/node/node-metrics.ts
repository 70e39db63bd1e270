import type { StoreClient } from '../store-client.ts';

type Sample = readonly [name: string, type: 'counter' | 'gauge', help: string, value: number];

/** What Prometheus reads of a storage node. */
export function nodeMetricsText(store: StoreClient): string {
  const segments = store.segments.list;
  return renderSamples([
    [
      'tsukimi_store_serving',
      'gauge',
      'Whether the master counts on this node.',
      store.state === 'serving' ? 1 : 0,
    ],
    ['tsukimi_store_segments', 'gauge', 'Segments that are lent.', segments.length],
    [
      'tsukimi_store_lent_bytes',
      'gauge',
      'Memory that is lent.',
      segments.reduce((sum, { size }) => sum + size, 0),
    ],
  ]);
}

function renderSamples(samples: readonly Sample[]): string {
  return samples
    .map(
      ([name, type, help, value]) =>
        `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`,
    )
    .join('');
}
