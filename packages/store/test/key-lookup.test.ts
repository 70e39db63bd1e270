import { deadline, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KeyLookup } from '../src/index.ts';
import { type Member, TestCluster } from './cluster.ts';

const clock = new SystemClock();
let cluster: TestCluster;
let member: Member;
let lookup: KeyLookup;
let limit: ReturnType<typeof deadline>;

beforeEach(async () => {
  cluster = await TestCluster.start();
  member = await cluster.serving({
    name: '127.0.0.1:1',
    segmentByteCount: 48 * 2 ** 20,
    shared: false,
  });
  lookup = new KeyLookup({
    master: { host: '127.0.0.1', port: cluster.master.port },
    tenantId: 'default',
    clock,
    random: new SeededRandom(5),
    logger: silentLogger,
    connectTimeoutMs: 1_000,
  });
  limit = deadline(clock, 10_000, 'the test');
});
afterEach(async () => {
  limit.release();
  lookup.close();
  await cluster.stop();
});

async function put(...keys: string[]): Promise<void> {
  for (const key of keys) {
    expect(await member.store.objects.put(key, [Buffer.from('value')])).toMatchObject({ ok: {} });
  }
}

it('tells which keys are there without being a member', async () => {
  await put('m@group:0@aa', 'm@group:0@bb');
  expect(await lookup.exist(['m@group:0@aa', 'x', 'm@group:0@bb'], limit.signal)).toEqual([
    true,
    false,
    true,
  ]);
  expect(await lookup.match('@(?:bb|cc)$', limit.signal)).toEqual(['m@group:0@bb']);
  expect(await lookup.match('@cc$', limit.signal)).toEqual([]);
});

it('rejects at once while there is no master, and finds the next one by itself', async () => {
  await put('a');
  expect(await lookup.exist(['a'], limit.signal)).toEqual([true]);
  await cluster.stopMaster();
  await expect(lookup.exist(['a'], limit.signal)).rejects.toMatchObject({
    code: 'PEER_UNREACHABLE',
  });
  await cluster.reviveMaster();
  expect(await lookup.exist(['a'], limit.signal)).toEqual([false]);
});

it('ends with its signal', async () => {
  const cancelled = AbortSignal.abort(new Error('enough'));
  await expect(lookup.exist(['a'], cancelled)).rejects.toThrow('enough');
});
