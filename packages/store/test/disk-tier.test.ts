import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LineLogger, SystemClock, sleep } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TestCluster } from './cluster.ts';

describe('a disk that the master does not want', () => {
  let cluster: TestCluster;
  let diskDirectory: string;
  beforeEach(async () => {
    cluster = await TestCluster.start();
    diskDirectory = mkdtempSync(join(tmpdir(), 'tsukimi-disk-'));
  });
  afterEach(async () => {
    await cluster.stop();
    rmSync(diskDirectory, { recursive: true });
  });

  it('is told of once, and does not keep its node from being ready', async () => {
    const clock = new SystemClock();
    const lines: string[] = [];
    const logger = new LineLogger(clock, (line) => void lines.push(line));
    const { store } = await cluster.serving({
      name: '127.0.0.1:1',
      segmentByteCount: 2 ** 20,
      shared: false,
      diskDirectory,
      logger,
    });
    await eventually(() => store.disk?.isSettled, 'the disk to be settled');
    expect(store.disk?.isKnown).toBe(false);
    expect(await store.put('key', Buffer.from('in memory'))).toBe('stored');
    // Another heartbeat or two.
    await sleep(clock, 2_200, new AbortController().signal);
    const refusals = lines.filter((line) => line.includes('disk.mount_refused'));
    expect(refusals).toHaveLength(1);
    expect(refusals[0]).toContain('--enable_offload');
  });
});
