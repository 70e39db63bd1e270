import { eventually } from '@tsukimi/base/testing';
import { errorName } from '@tsukimi/wire';
import { describe, expect, it } from 'vitest';
import { Processes, sized } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';
import { type OwnClient, startOwnClient } from './own-client.ts';
import { PythonClient, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

const putCount = sized({ smoke: 100, full: 1_000 });
const value = patternBytes(1, 100_000);

/** Two of Mooncake's clients that lend memory, and one of ours that borrows it. */
async function startPool(
  processes: Processes,
  master: Master,
  firstPort: number,
): Promise<{ readonly holders: readonly PythonClient[]; readonly own: OwnClient }> {
  const place = { metadata: master.metadata, master: master.address };
  const holders = [0, 1].map(() => new PythonClient(processes, installWheel()));
  for (const [index, holder] of holders.entries()) {
    const name = `127.0.0.1:${firstPort + index}`;
    expect(await holder.setup({ ...place, name, segmentByteCount: 256 << 20 })).toBe(0);
  }
  const name = `127.0.0.1:${firstPort + 2}`;
  const own = await startOwnClient({ ...place, name, segmentByteCount: 0 });
  return { holders, own };
}

describe.each([
  ['our master', startOwnMaster, 12_501],
  ['the real master', startRealMaster, 12_511],
] as const)('when a holder of segments is lost, on %s', (_, startMaster, firstPort) => {
  it.each([
    ['SIGKILL', 0],
    ['SIGSTOP', 5],
  ] as const)('no put of our client fails: %s', async (signal, offset) => {
    await using processes = new Processes();
    const master = await startMaster(processes, { flags: ['--client_ttl=60'] });
    const { holders, own } = await startPool(processes, master, firstPort + offset);
    await using client = own;
    const { objects } = client.store;
    const [lost, other] = holders as [PythonClient, PythonClient];
    // It knows neither of them before the first put after the loss.
    lost.started.child.kill(signal);
    const answers = new Set<string>();
    let slowestMs = 0;
    for (let index = 0; index < putCount; index++) {
      const startMs = performance.now();
      const put = await objects.put(`k/${index}`, value);
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
      answers.add('error' in put ? errorName(put.error) : put.ok);
    }
    expect([...answers]).toEqual(['stored']);
    console.log(`${signal}: ${putCount} puts, the slowest took ${slowestMs.toFixed(0)} ms`);
    const reads = await objects.getBatch([...Array(putCount).keys()].map((index) => `k/${index}`));
    expect(reads.every((read) => 'ok' in read && read.ok.equals(value))).toBe(true);
    expect(await other.store('is_exist', 'k/0')).toBe(1);
    lost.started.child.kill('SIGKILL');
  });

  it('says what was lost with it, and reads the rest', async () => {
    await using processes = new Processes();
    const master = await startMaster(processes, { flags: ['--client_ttl=60'] });
    const { holders, own } = await startPool(processes, master, firstPort + 60);
    await using client = own;
    const { objects } = client.store;
    const [lost] = holders as [PythonClient];
    const here = { preferredSegments: [`127.0.0.1:${firstPort + 60}`] };
    expect(await objects.put('alone', value, { config: here })).toEqual({ ok: 'stored' });
    const twice = await objects.put('twice', value, { config: { replicaNum: 2 } });
    expect(twice).toEqual({ ok: 'stored' });
    await lost.kill();
    await eventually(async () => {
      const read = await objects.get('twice');
      return 'ok' in read && read.ok.equals(value);
    }, 'the copy that is left');
    const alone = await objects.get('alone');
    expect('error' in alone).toBe(true);
  });
});
