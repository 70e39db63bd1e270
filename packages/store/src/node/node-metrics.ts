import type { DiskTier } from '../disk/disk-tier.ts';
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
    ...(store.disk === null ? [] : diskSamples(store.disk)),
  ]);
}

function diskSamples(disk: DiskTier): Sample[] {
  const { counters } = disk;
  const gauges: readonly (readonly [string, string, number])[] = [
    ['objects', 'Objects on disk.', disk.objectCount],
    ['bytes', 'Bytes of files on disk.', disk.byteCount],
    [
      'doubtful_objects',
      'Objects found at the start that others of their names keep from being offered.',
      disk.doubtfulCount,
    ],
    ['capacity_bytes', 'What the files may have.', disk.capacity],
    ['writable', 'Whether a disk takes objects now.', disk.isWritable ? 1 : 0],
    ['known', 'Whether the master counts on the disk.', disk.isKnown ? 1 : 0],
  ];
  const totals: readonly (readonly [string, string, number])[] = [
    ['restored_objects', 'Found at the start.', counters.restoredObjects],
    ['torn_files', 'Files of a crash, removed at the start.', counters.tornFiles],
    ['written_objects', 'Objects written.', counters.writtenObjects],
    ['written_bytes', 'Bytes written.', counters.writtenBytes],
    ['read_objects', 'Objects read and found undamaged.', counters.readObjects],
    ['read_bytes', 'Bytes read and found undamaged.', counters.readBytes],
    ['evicted_objects', 'Objects that made room for others.', counters.evictedObjects],
    ['refused_objects', 'Objects that no disk took.', counters.refusedObjects],
    ['write_failures', 'Files that could not be written.', counters.writeFailures],
    ['read_failures', 'Reads that a disk failed.', counters.readFailures],
    ['damaged_objects', 'Objects that came back damaged.', counters.damagedObjects],
    ['promoted_objects', 'Objects brought back to memory.', disk.promotedCount],
  ];
  return [
    ...gauges.map(([name, help, value]): Sample => [`tsukimi_disk_${name}`, 'gauge', help, value]),
    ...totals.map(
      ([name, help, value]): Sample => [`tsukimi_disk_${name}_total`, 'counter', help, value],
    ),
  ];
}

function renderSamples(samples: readonly Sample[]): string {
  return samples
    .map(
      ([name, type, help, value]) =>
        `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`,
    )
    .join('');
}
