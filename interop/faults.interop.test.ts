import { startEtcd } from '@tsukimi/metadata/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { form, sized } from '../e2e/processes.ts';
import {
  masterDies,
  masterDiesInTraffic,
  memoryIsFull,
  memoryIsLeased,
  oneHolderOfTwoDies,
  onlyHolderDies,
  putAfterClose,
  type Seen,
  writerDies,
} from './fault-rows.ts';
import { Stack, type StackName } from './fault-stacks.ts';
import { headsClaimTooMuch, headsStayHalf, randomBytesArrive } from './socket-faults.ts';

interface Row {
  readonly fault: string;
  readonly play: (stack: Stack) => Promise<Seen>;
  /** The stacks that must be as ours must be. In those that are left out real clients have their own habits. */
  readonly must: readonly StackName[];
  /** Part of the smaller form too, which plays no real system. */
  readonly inSmoke?: boolean;
  /** Otherwise it is etcd, which outlives the master. */
  readonly isMetadataInside?: boolean;
  /** Without clients there are only two. */
  readonly stacks?: readonly StackName[];
}

const withOurMaster: readonly StackName[] = ['real clients, our master', 'ours'];
const withOurClients: readonly StackName[] = ['our clients, real master', 'ours'];
const everywhere: readonly StackName[] = ['real', 'our clients, real master', ...withOurMaster];

const watchMs = sized({ smoke: 3_000, full: 12_000 });
const rows: readonly Row[] = [
  {
    fault: 'kill -9 of the only segment holder',
    play: (stack) => onlyHolderDies(stack, watchMs),
    must: withOurMaster,
    inSmoke: true,
  },
  {
    fault: 'the same, a second holder alive',
    play: (stack) => oneHolderOfTwoDies(stack, watchMs),
    must: withOurClients,
  },
  {
    fault: 'kill -9 of the master with the metadata server inside, restart',
    play: masterDies,
    must: withOurMaster,
    isMetadataInside: true,
  },
  {
    fault: 'kill -9 of the master in traffic, again and again',
    play: (stack) => masterDiesInTraffic(stack, sized({ smoke: 1, full: 5 })),
    must: withOurMaster,
  },
  {
    fault: 'writer killed between PutStart and PutEnd',
    play: (stack) => writerDies(stack, sized({ smoke: 8_000, full: 45_000 })),
    must: withOurMaster,
    inSmoke: true,
  },
  { fault: 'memory full, every key leased', play: memoryIsLeased, must: withOurClients },
  { fault: '600 x 1 MiB into 256 MiB', play: memoryIsFull, must: withOurMaster },
  {
    fault: '1,000 connections of random bytes',
    play: (stack) => randomBytesArrive(stack, 2_000),
    must: ['ours'],
    stacks: ['real', 'ours'],
  },
  {
    fault: 'headers that claim 4 GiB',
    play: (stack) => headsClaimTooMuch(stack, 2_000),
    must: ['ours'],
    stacks: ['real', 'ours'],
    inSmoke: true,
  },
  {
    fault: '500 half headers',
    play: (stack) => headsStayHalf(stack, 13_000),
    must: ['ours'],
    stacks: ['real', 'ours'],
  },
  { fault: 'put after close()', play: putAfterClose, must: withOurClients },
];

const played = rows.filter(({ inSmoke }) => form === 'full' || inSmoke === true);
const all = form === 'full' ? everywhere : withOurMaster;
const table: Record<string, string>[] = [];

describe('faults, in the real system and in ours', () => {
  afterAll(() => {
    for (const { fault, ...columns } of table) {
      console.log(
        [fault, ...Object.entries(columns).map((column) => column.join(': '))].join('\n    '),
      );
    }
  });

  it.each(played.map((row) => [row.fault, row] as const))(
    '%s',
    async (fault, { play, must, stacks = all, isMetadataInside = false }) => {
      const seen: Record<string, string> = { fault };
      table.push(seen);
      const misses: string[] = [];
      const slowestMs: Partial<Record<StackName, number>> = {};
      for (const name of all.filter((each) => stacks.includes(each))) {
        await using etcd = await startEtcd().then((server) => ({
          port: server.port,
          [Symbol.asyncDispose]: () => server.dispose(),
        }));
        await using stack = new Stack(name, isMetadataInside ? null : `127.0.0.1:${etcd.port}`);
        const result = await play(stack);
        seen[name] = result.text;
        if (result.slowestMs !== undefined) slowestMs[name] = result.slowestMs;
        if (must.includes(name)) misses.push(...result.misses.map((miss) => `${name}: ${miss}`));
      }
      expect(misses).toEqual([]);
      const { real = Number.POSITIVE_INFINITY, ours = 0 } = slowestMs;
      // Below this a single turn of the scheduler decides.
      expect(ours).toBeLessThan(Math.max(real, 50));
    },
    sized({ smoke: 120_000, full: 300_000 }),
  );
});
