import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { Processes } from '../e2e/processes.ts';
import { startOwnMaster, startRealMaster } from './masters.ts';
import { answered, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

const mebibyte = 2 ** 20;
const size = 4 * mebibyte;
const count = 12;
const flags = [
  ...['--enable_offload=true', '--offload_on_evict=true', '--promotion_on_hit=true'],
  '--default_kv_lease_ttl=100',
];

describe('the disk of a published client', () => {
  it.each([
    ['our master', startOwnMaster],
    ['the real master', startRealMaster],
  ])(
    'takes what does not fit in memory, and gives it back, through %s',
    async (_, start) => {
      await using processes = new Processes();
      const master = await start(processes, { flags });
      const python = new PythonClient(processes, installWheel(), {
        MOONCAKE_OFFLOAD_LOCAL_BUFFER_SIZE_BYTES: String(64 * mebibyte),
        MOONCAKE_OFFLOAD_HEARTBEAT_INTERVAL_SECONDS: '1',
        MOONCAKE_OFFLOAD_BUCKET_SIZE_LIMIT_BYTES: String(8 * mebibyte),
        MOONCAKE_OFFLOAD_BUCKET_KEYS_LIMIT: '2',
      });
      const directory = mkdtempSync(join(processes.directory, 'disk-'));
      const place = ['127.0.0.1:12391', master.metadata, 32 * mebibyte, 64 * mebibyte];
      const rest = ['tcp', '', master.address, null, true, directory];
      expect(await python.store('setup', ...place, ...rest)).toBe(0);
      for (let number = 0; number < count; number += 1) {
        const isStored = async () =>
          (await python.store('put', `key-${number}`, pattern(number, size))) === 0;
        await eventually(isStored, `room for key-${number}`, 60_000);
      }
      for (let number = 0; number < count; number += 1) {
        expect([number, await python.store('get', `key-${number}`)]).toEqual([
          number,
          answered(patternBytes(number, size)),
        ]);
      }
      const metrics = await (await fetch(`${master.adminUrl}/metrics`)).text();
      const value = (name: string) =>
        Number(new RegExp(`^${name} (\\d+)`, 'm').exec(metrics)?.[1] ?? Number.NaN);
      expect(value('file_cache_nums_')).toBeGreaterThanOrEqual(count - 8);
      expect(value('file_cache_hit_nums_')).toBeGreaterThan(0);
      expect(value('master_key_count')).toBe(count);
      await python.store('close');
    },
    240_000,
  );
});
