import { expect, it } from 'vitest';
import { Processes } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';

/** `name type` of all metrics that a master has at its start. */
async function types({ adminUrl }: Master): Promise<string[]> {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  return [...text.matchAll(/^# TYPE (\S+ \S+)$/gm)].map((match) => match[1] as string);
}

/** What Mooncake's Grafana dashboard asks for beyond what its master has at its start. */
const onDashboards = [
  ...[
    'successful_evictions',
    'attempted_evictions',
    'evicted_key_count',
    'evicted_size_bytes',
  ].flatMap((name) => [`master_${name}_mem counter`, `master_${name}_nof counter`]),
  ...['mount', 'remount', 'unmount'].map(
    (name) => `master_${name}_nof_segment_requests_total counter`,
  ),
  ...['success', 'failure', 'timeout'].map((name) => `master_nof_heartbeat_${name}_total counter`),
  'master_nof_heartbeat_probe_latency_ms histogram',
  'master_nof_segments_unmounted_by_heartbeat_total counter',
  'master_snapshot_duration_ms histogram',
  'master_snapshot_success counter',
  'master_snapshot_fail counter',
  'master_value_size_bytes histogram',
];

it('has every metric of the real master, of the same type, and what its dashboards ask for', async () => {
  await using processes = new Processes();
  const [real, own] = await Promise.all([
    startRealMaster(processes).then(types),
    startOwnMaster(processes).then(types),
  ]);
  expect(real.length).toBeGreaterThan(100);
  expect(own).toEqual(expect.arrayContaining([...real, ...onDashboards]));
});
