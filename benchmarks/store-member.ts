/**
 * A store client of ours in a process of its own, which is measured or holds a segment; the same
 * commands as `python/store_client.py`.
 */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { parseAddress, SystemClock, SystemRandom, silentLogger } from '@tsukimi/base';
import { HttpMetadataStore } from '@tsukimi/metadata';
import { StoreClient } from '@tsukimi/store';
import { allocateMemory, TransferEngine } from '@tsukimi/transfer';

const [name = '', metadataUrl = '', master = '', segmentBytes = '0', way = 'tcp', holder = 'self'] =
  process.argv.slice(2);
const sharedMemory = way === 'shm';
const common = { clock: new SystemClock(), random: new SystemRandom(), logger: silentLogger };
const metadata = new HttpMetadataStore({ url: new URL(metadataUrl), clock: common.clock });
const engine = new TransferEngine({ ...common, name, metadata, host: '127.0.0.1', sharedMemory });
const byteCount = Number(segmentBytes);
const store = new StoreClient({
  ...common,
  engine,
  masterAddress: parseAddress(master, 'master'),
  localHostname: name,
  segment: byteCount === 0 ? null : { byteCount, shared: sharedMemory },
  timeouts: { lookupMs: 10_000, transferMs: 60_000, controlMs: 10_000 },
});
await engine.start();
await store.start();
while (store.state !== 'serving') await new Promise((resolve) => setTimeout(resolve, 5));
const answer = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);
answer({ ready: true });

function cpu(pid: string): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

interface Command {
  readonly op: 'put_from' | 'get_into' | 'batch_put_from' | 'batch_get_into';
  readonly size: number;
  readonly count: number;
  readonly batch: number;
  readonly ms: number;
}

let isWarm = false;
let arena: Buffer | null = null;

function callsOf({ op, size, count, batch }: Omit<Command, 'ms'>): (() => Promise<void>)[] {
  arena ??= allocateMemory({ byteCount: 256 * 2 ** 20, shared: false, label: 'arena' }).view.fill(
    7,
  );
  const memory = arena;
  const objects = Array.from({ length: count }, (_, index) => ({
    key: `b/${size}/${index}`,
    bytes: memory.subarray(index * size, (index + 1) * size),
  }));
  const groups = Array.from({ length: Math.ceil(count / batch) }, (_, index) =>
    objects.slice(index * batch, (index + 1) * batch),
  );
  return groups.map((group) => async () => {
    const outcomes = op.includes('put')
      ? await store.objects.putBatch(
          group.map(({ key }) => key),
          group.map(({ bytes }) => bytes),
        )
      : await store.objects.getIntoBatch(group.map(({ key, bytes }) => ({ key, into: bytes })));
    if (outcomes.some((outcome) => 'error' in outcome)) throw new Error(JSON.stringify(outcomes));
  });
}

async function measure(command: Command): Promise<object> {
  const { op, size, count, ms } = command;
  const puts = op.includes('put');
  const clear = () => store.removeAll({ force: true });
  if (!puts)
    for (const call of callsOf({ ...command, op: 'batch_put_from', batch: 16 })) await call();
  const calls = callsOf(command);
  // Until the engine has compiled what is measured, which takes longer the first time.
  const warmUntilMs = performance.now() + (isWarm ? ms / 2 : 4_000);
  while (performance.now() < warmUntilMs) {
    for (const call of calls) await call();
    if (puts) await clear();
  }
  isWarm = true;
  const total = { bytes: 0, seconds: 0, client_cpu: 0, holder_cpu: 0 };
  const times: number[] = [];
  const untilMs = performance.now() + ms;
  while (total.bytes === 0 || performance.now() < untilMs) {
    const [own, theirs, startMs] = [cpu('self'), cpu(holder), performance.now()];
    let lastMs = startMs;
    for (const call of calls) {
      await call();
      const nowMs = performance.now();
      times.push(nowMs - lastMs);
      lastMs = nowMs;
    }
    total.bytes += size * count;
    total.seconds += (lastMs - startMs) / 1_000;
    total.client_cpu += cpu('self') - own;
    total.holder_cpu += cpu(holder) - theirs;
    if (puts) await clear();
  }
  await clear();
  times.sort((left, right) => left - right);
  return { ...total, median_us: (times[Math.floor(times.length / 2)] ?? 0) * 1_000 };
}

for await (const line of createInterface({ input: process.stdin })) {
  answer(await measure(JSON.parse(line) as Command));
}
await store.stop(AbortSignal.timeout(2_000));
await engine.stop(AbortSignal.timeout(2_000));
await metadata.close();
process.exit(0);
