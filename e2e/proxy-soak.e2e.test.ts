import { eventually } from '@tsukimi/base/testing';
import { expect, it } from 'vitest';
import { FaultBench, type InstanceScript } from './fault-bench.ts';
import { descriptorCount, residentMegabytes, slopeOf } from './process-shape.ts';
import { sized } from './processes.ts';

const adminApiKey = 'secret';
const clientCount = 64;
/** 100,352 requests in the full form, 7,168 in the other one. */
const eachCount = sized({ smoke: 14, full: 196 });
const roundCount = 8;
/** Later rounds show what grows: the first ones fill pools and let the compiler settle. */
const warmRoundCount = 3;
/** What a single kept request would take: its body, its record and an object or two. */
const bytesPerRequestMax = sized({ smoke: 200, full: 20 });

const ours: InstanceScript = { gapMs: 1 };
const vllm: InstanceScript = { gapMs: 1, ours: false };
/** Two of each, so that every stream can be gone on with when one dies. */
const decode = [ours, vllm, ours, vllm];

it('instances join, drain and die under load, and nothing is left of it', async () => {
  await using bench = await FaultBench.start({
    ...{ prefill: [ours, vllm], decode },
    argv: ['--admin-api-key', adminApiKey],
    tellsHeap: true,
  });
  const pid = bench.proxyPid;
  const admin = async (call: 'add' | 'drain' | 'remove', instance: string) => {
    const response = await fetch(`${bench.url}/instances/${call}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': adminApiKey },
      body: JSON.stringify({ type: 'decode', instance }),
    });
    expect([call, response.status, response.ok ? '' : await response.text()]).toEqual([
      ...[call, 200, ''],
    ]);
  };
  const statusOf = async () => (await (await fetch(`${bench.url}/status`)).json()) as Status;
  let over = false;
  let changeCount = 0;
  const change = async () => {
    while (!over) {
      const guest = await bench.guest(decode[changeCount % 4] as InstanceScript);
      await admin('add', guest.address);
      await new Promise((resolve) => setTimeout(resolve, 500));
      if (changeCount % 2 === 0) await admin('drain', guest.address);
      else guest.started.child.kill('SIGKILL');
      if (changeCount % 2 === 1) await admin('remove', guest.address);
      const gone = async () => !(await statusOf()).decode_nodes.includes(guest.address);
      await eventually(gone, 'the guest to leave');
      guest.started.child.kill('SIGKILL');
      await guest.started.exited;
      const at = changeCount % 4;
      await bench.restart('decode', decode[at] as InstanceScript, at);
      changeCount += 1;
    }
  };
  // Nobody has asked for anything yet: only its listeners and the probes' connections are there.
  const cold = await settledDescriptorCount(pid);
  const heaps: number[] = [];
  const failures: string[] = [];
  let requestCount = 0;
  const changing = change();
  for (let round = 0; round < roundCount; round += 1) {
    const outcome = await bench.load(clientCount, eachCount);
    failures.push(...outcome.failures);
    requestCount += outcome.requests;
    heaps.push(await bench.heapBytes());
  }
  over = true;
  await changing;
  expect(failures).toEqual([]);
  expect(changeCount).toBeGreaterThan(3);
  const status = await statusOf();
  expect(status.requests_in_flight).toBe(0);
  expect(status.decode_nodes).toHaveLength(decode.length);
  expect(status.instances.map((one) => one.active_requests)).toEqual([0, 0, 0, 0, 0, 0]);
  const metrics = await (await fetch(`${bench.url}/metrics`)).text();
  for (const name of ['requests_in_flight', 'requests_queued', 'held_body_bytes']) {
    expect(metrics).toMatch(new RegExp(`^tsukimi_proxy_${name} 0$`, 'm'));
  }
  const loads =
    /^tsukimi_proxy_instance_(active_requests|queued_tokens|resident_tokens)\{.*\} (.*)$/gm;
  const told = [...metrics.matchAll(loads)];
  expect(told).toHaveLength(3 * status.instances.length);
  expect(told.filter(([, , value]) => value !== '0')).toEqual([]);
  const bytesPerRequest = slopeOf(heaps.slice(warmRoundCount)) / (clientCount * eachCount);
  // Idle connections, of clients and to instances, are closed after some seconds.
  await eventually(() => descriptorCount(pid) <= cold, `no more than ${cold} descriptors`, 90_000);
  process.stdout.write(
    `soak: ${requestCount} requests, ${changeCount} changes of instances, ${failures.length} failed; ` +
      `heap ${heaps.map((bytes) => (bytes / 1e6).toFixed(2)).join(', ')} MB after each round, ` +
      `${bytesPerRequest.toFixed(1)} bytes a request; ${residentMegabytes(pid)} MB resident; ` +
      `${cold} → ${descriptorCount(pid)} descriptors\n`,
  );
  expect(bytesPerRequest).toBeLessThan(bytesPerRequestMax);
}, 1_800_000);

interface Status {
  readonly requests_in_flight: number;
  readonly decode_nodes: readonly string[];
  readonly instances: readonly { readonly active_requests: number }[];
}

/** Once it has stayed the same for some seconds. */
async function settledDescriptorCount(pid: number): Promise<number> {
  let count = -1;
  for (let sameCount = 0; sameCount < 5; ) {
    const now = descriptorCount(pid);
    sameCount = now === count ? sameCount + 1 : 0;
    count = now;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  return count;
}
