import { setTimeout as sleep } from 'node:timers/promises';
import { SystemClock } from '@tsukimi/base';
import { configOf, segmentOf, uuid } from '@tsukimi/master/testing';
import { RpcClient } from '@tsukimi/rpc';
import { ByteWriter, masterProtocol, writeFailureReport } from '@tsukimi/wire';
import { expect, it } from 'vitest';
import { Processes } from '../e2e/processes.ts';
import { startOwnMaster, startRealMaster } from './masters.ts';

it.each([
  ['the real master ignores', startRealMaster, true],
  ['our master believes, until the next ping,', startOwnMaster, false],
])('%s what follows the arguments of a call', async (_, start, isReadable) => {
  await using processes = new Processes();
  const { port } = await start(processes);
  const address = { host: '127.0.0.1', port };
  const client = new RpcClient({ address, protocol: masterProtocol, clock: new SystemClock() });
  const [holder, writer] = [uuid(1), uuid(2)];
  const segment = segmentOf(1, 16 << 20);
  await client.call('MountSegment', [segment, holder]);
  await client.call('ReMountSegment', [[segment], holder]);
  await client.call('PutStart', [writer, 'k', 10, configOf(), 'default']);
  await client.call('PutEnd', [writer, { key: 'k', objectChecksum: null }, 4, 'default']);
  // Long enough for a ping to be overdue.
  await sleep(2_500);
  const out = new ByteWriter();
  writeFailureReport(out, { reporter: writer, endpoints: [segment.teEndpoint] });
  const appendix = out.take();
  const exists = (options = {}) => client.call('ExistKey', ['k', 'default'], options);
  expect(await exists()).toEqual({ ok: true });
  expect(await exists({ appendix })).toEqual({ ok: isReadable });
  expect(await exists()).toEqual({ ok: isReadable });
  await client.call('Ping', [holder]);
  expect(await exists()).toEqual({ ok: true });
  client.close();
});
