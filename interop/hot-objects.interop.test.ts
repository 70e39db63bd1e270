import { eventually } from '@tsukimi/base/testing';
import { expect, it } from 'vitest';
import { Processes } from '../e2e/processes.ts';
import { startOwnMaster, startRealMaster } from './masters.ts';
import { config, PythonClient, pattern } from './python-client.ts';
import { installWheel } from './wheel.ts';

it.each([
  ['our master', startOwnMaster],
  ['the real master', startRealMaster],
])('real clients copy what is read often, as %s asks them to', async (_, start) => {
  await using processes = new Processes();
  const flags = ['--dynamic_replication_mode=enforce'];
  const master = await start(processes, { flags });
  const names = ['127.0.0.1:12341', '127.0.0.1:12342'] as const;
  const clients = names.map(() => new PythonClient(processes, installWheel()));
  for (const [index, client] of clients.entries()) {
    const setup = {
      ...master,
      master: master.address,
      name: names[index] as string,
      segmentByteCount: 64 << 20,
    };
    expect(await client.setup(setup)).toBe(0);
  }
  const [holder, reader] = clients as [PythonClient, PythonClient];
  const place = config({ preferred_segment: names[0] });
  expect(await holder.store('put', 'hot', pattern(1, 100_000), place)).toBe(0);
  const first = await reader.store('get', 'hot');
  const copies = async () => (await reader.worker<unknown[]>('descriptors', 'hot')).length;
  // Asking where the copies are is a read as well.
  await eventually(async () => (await copies()) === 2, 'the second copy', 30_000);
  expect(await reader.store('get', 'hot')).toEqual(first);
  for (const client of clients) await client.store('close');
});
