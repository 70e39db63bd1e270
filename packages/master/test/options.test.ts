import {
  describeOptions,
  loadOptions,
  SeededRandom,
  SystemClock,
  silentLogger,
} from '@tsukimi/base';
import { assembleMaster, masterOptions } from '@tsukimi/master';
import { describe, expect, it } from 'vitest';

const load = (...argv: string[]) => loadOptions(masterOptions, { argv, env: {} });

function noticesOf(...argv: string[]): readonly string[] {
  const ports = { clock: new SystemClock(), random: new SeededRandom(1), logger: silentLogger };
  return assembleMaster(load(...argv), ports).notices;
}

describe('options of the master', () => {
  it("take the guide's command line in either spelling", () => {
    const line = ['--port', '50051', '--max_threads', '4', '--enable_gc'];
    expect(load(...line).port).toBe(50_051);
    expect(load('-rpc_port=1', '--metrics-port=2')).toMatchObject({ port: 1, metricsPort: 2 });
    expect(noticesOf(...line).slice(1)).toEqual([
      '--max_threads: has no effect in this version',
      '--enable_gc: has no effect in this version',
    ]);
  });

  it('say what keeps objects over a restart to those who ask for snapshots', () => {
    const asked = ['--enable_snapshot', '--enable_snapshot_restore=true'];
    for (const notice of noticesOf(...asked).slice(1)) {
      expect(notice).toContain('a restarted master has no objects; --journal-dir keeps them');
    }
    expect(noticesOf(...asked)).toHaveLength(1 + asked.length);
    expect(noticesOf('--enable_snapshot', '--journal-dir=/journal')[1]).toContain(
      '--journal-dir keeps all objects',
    );
    expect(noticesOf('--enable_snapshot=false', '--noenable_gc')).toHaveLength(1);
  });

  it('are described with what they do first, and those that do nothing by name alone', () => {
    const help = describeOptions(masterOptions);
    const lines = help.split('\n');
    expect(lines[0]).toContain('--port');
    expect(lines.at(-1)).toMatch(
      /^Accepted without effect: --max-threads .* -v .*--enable-snapshot/,
    );
    for (const name of Object.keys(masterOptions)) {
      const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      expect(help).toMatch(new RegExp(`(^|\\s)-{1,2}${flag}(?:[\\s,]|$)`, 'm'));
    }
  });

  it('read times in milliseconds or with a unit, and flags that are turned off', () => {
    expect(load().defaultKvLeaseTtl).toBe(10_000);
    expect(load('--default_kv_lease_ttl=5m').defaultKvLeaseTtl).toBe(300_000);
    expect(load('--default_kv_lease_ttl=250').defaultKvLeaseTtl).toBe(250);
    expect(load('--noallow_evict_soft_pinned_objects').allowEvictSoftPinnedObjects).toBe(false);
    expect(() => load('--default_kv_lease_ttl=soon')).toThrow('--default-kv-lease-ttl');
  });

  it('tell what is bound and that nobody is asked who he is', () => {
    expect(noticesOf('--metrics_host=127.0.0.1')).toEqual([
      "RPC on 0.0.0.0:50051, admin and metrics on http://127.0.0.1:9003; Mooncake's ports have no authentication: let only the cluster's machines reach them",
    ]);
  });

  it('know the strategies of allocation for memory that is not here', () => {
    expect(load().allocationStrategy).toBe('random');
    expect(load('--allocation_strategy=ssd_free_ratio_first').allocationStrategy).toBe(
      'free_ratio_first',
    );
    expect(load('-allocation_strategy=cxl').allocationStrategy).toBe('random');
    expect(() => load('--allocation_strategy=best')).toThrow('--allocation-strategy: "best"');
  });

  it('refuse a feature whose absence would be noticed elsewhere', () => {
    expect(() => load('--enable_kv_events')).toThrow('--enable-kv-events: "true": this master');
    expect(load('--enable_kv_events=false').enableKvEvents).toBe(false);
  });
});
