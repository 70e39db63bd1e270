import { describe, expect, it } from 'vitest';
import { metricsText } from '../src/admin/metrics-text.ts';
import { CallTallies } from '../src/call-tallies.ts';
import { Histogram } from '../src/core/histogram.ts';
import { configOf, coreForTests, segmentOf, uuid } from '../src/testing.ts';

const rpc = {
  connectionCounts: new Map([
    [null, 1],
    ['0.3.12', 2],
  ]),
  guesses: [['0.3.13', 3]] as const,
};

describe('the metrics', () => {
  it('count what happens', () => {
    const { core, clock } = coreForTests({ clientTtlMs: 5_000 });
    core.mountSegment(segmentOf(1, 10_000, { name: 'a"b' }), uuid(1));
    for (const [key, byteCount] of [
      ['small', 100],
      ['large', 5_000],
    ] as const) {
      core.putStart(uuid(2), key, byteCount, configOf());
      core.putEnd(uuid(2), key, null, 4);
    }
    core.find('small');
    core.find('nobody');
    core.clientDisconnected(uuid(1));
    const tallies = new CallTallies();
    const ping = tallies.counted('ping', (status: number) => ({ error: status }));
    ping(-1);
    ping(-1);
    const lines = () => metricsText(core, null, rpc, tallies).split('\n');
    expect(lines()).toEqual(
      expect.arrayContaining([
        '# TYPE master_allocated_bytes gauge',
        'master_allocated_bytes 5100',
        'segment_allocated_bytes{segment="a\\"b"} 5100',
        'segment_total_capacity_bytes{segment="a\\"b"} 10000',
        '# TYPE master_value_size_bytes histogram',
        'master_value_size_bytes_bucket{le="4096"} 1',
        'master_value_size_bytes_bucket{le="65536"} 2',
        'master_value_size_bytes_bucket{le="+Inf"} 2',
        'master_value_size_bytes_sum 5100',
        'master_value_size_bytes_count 2',
        'tsukimi_master_connections{release="unknown"} 1',
        'tsukimi_master_connections{release="0.3.12"} 2',
        'tsukimi_master_guessed_answers_total{release="0.3.13"} 3',
        'total_get_nums_ 2',
        'valid_get_nums_ 1',
        'master_client_liveness_suspected_clients 1',
        'master_ping_failures_total 2',
      ]),
    );
    clock.advance(5_001);
    core.sweep();
    expect(lines()).toContain('master_client_liveness_offline_transitions_total 1');
  });

  it('have a type for each name, once', () => {
    const { core } = coreForTests();
    const lines = metricsText(core, null, rpc, new CallTallies()).split('\n').slice(0, -1);
    const types = lines
      .filter((line) => line.startsWith('# TYPE '))
      .map((line) => line.split(' ')[2]);
    expect(new Set(types).size).toBe(types.length);
    for (const line of lines)
      expect(line).toMatch(/^(# TYPE \w+ \w+|\w+(\{\w+="[^"]*"\})? [\d.]+)$/);
  });
});

describe('Histogram', () => {
  it('counts a value in the first bound that it does not exceed', () => {
    const histogram = new Histogram([10, 20]);
    for (const value of [0, 10, 11, 20, 21]) histogram.observe(value);
    expect([histogram.cumulativeCounts, histogram.sum]).toEqual([[2, 4, 5], 62]);
  });
});
