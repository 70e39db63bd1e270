import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { freePorts, Processes } from '../e2e/processes.ts';
import { type Master, startOwnMaster } from './masters.ts';
import { answered, type PythonClient, patternBytes } from './python-client.ts';
import { fill, joinedClient, kept, objectCount, Traffic } from './traffic.ts';

describe('kill -9 of a master with a journal, under published Python clients', () => {
  it('loses no object while their holders live, without anybody being restarted by hand', async () => {
    await using processes = new Processes();
    const firstPort = await freePorts(3);
    const flags = [`--journal-dir=${mkdtempSync(join(processes.directory, 'journal-'))}`];
    let master: Master = await startOwnMaster(processes, { flags, firstPort });
    const holders = [
      await joinedClient(processes, master, 12_311, 64 << 20),
      await joinedClient(processes, master, 12_312, 64 << 20),
    ];
    const reader = await joinedClient(processes, master, 12_313, 0);
    await fill(holders[0] as PythonClient);
    const traffic = new Traffic(holders[1] as PythonClient);
    await eventually(() => traffic.calls > 20, 'traffic');
    for (let kill = 0; kill < 2; kill += 1) {
      master.started.child.kill('SIGKILL');
      await master.started.exited;
      const killedMs = performance.now();
      master = await startOwnMaster(processes, { flags, firstPort });
      const upMs = performance.now() - killedMs;
      await eventually(async () => (await kept(reader)) === objectCount, 'all objects', 30_000);
      const allMs = performance.now() - killedMs;
      const before = traffic.failures;
      await eventually(() => traffic.calls > 20, 'traffic');
      console.log(
        `journal: master up after ${Math.round(upMs)} ms, all ${objectCount} objects after ${Math.round(allMs)} ms; ` +
          `longest call ${Math.round(traffic.longestMs)} ms, ${traffic.failures} of ${traffic.calls} calls failed (${before} before recovery)`,
      );
    }
    const values = await traffic.end();
    expect(traffic.stale).toBe(0);
    for (const [key, seed] of values) {
      expect(await reader.store('get', key)).toEqual(answered(patternBytes(seed, 4_000)));
    }
    const invariants = await fetch(`${master.adminUrl}/debug/invariants`);
    expect(await invariants.json()).toMatchObject({ ok: true });
    for (const python of [...holders, reader]) await python.store('close');
  });
});
