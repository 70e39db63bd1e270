import { readdirSync, readFileSync } from 'node:fs';
import { eventually } from '@tsukimi/base/testing';
import { expect, it } from 'vitest';
import { FaultBench } from './fault-bench.ts';
import { sized } from './processes.ts';

const adminApiKey = 'secret';
const clientCount = 64;
/** 100,032 requests in the full form. */
const eachCount = sized({ smoke: 60, full: 1_563 });

interface Shape {
  readonly megabytes: number;
  readonly descriptors: number;
}

function shapeOf(pid: number): Shape {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return {
    megabytes: Math.round(Number(kilobytes) / 1_000),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

it('instances join, drain and die under load, and nothing is left of it', async () => {
  await using bench = await FaultBench.start({
    prefill: [{ gapMs: 1 }, { gapMs: 1 }],
    decode: [{ gapMs: 1 }, { gapMs: 1 }],
    argv: ['--admin-api-key', adminApiKey],
  });
  const admin = async (call: 'add' | 'drain' | 'remove', instance: string) => {
    const response = await fetch(`${bench.url}/instances/${call}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': adminApiKey },
      body: JSON.stringify({ type: 'decode', instance }),
    });
    expect([call, response.status, response.ok ? '' : await response.text()]).toEqual([
      call,
      200,
      '',
    ]);
  };
  const nodes = async () =>
    ((await (await fetch(`${bench.url}/status`)).json()) as { decode_nodes: string[] })
      .decode_nodes;
  let over = false;
  let changeCount = 0;
  const change = async () => {
    while (!over) {
      const guest = await bench.guest({ gapMs: 1 });
      await admin('add', guest.address);
      await new Promise((resolve) => setTimeout(resolve, 500));
      if (changeCount % 2 === 0) await admin('drain', guest.address);
      else guest.started.child.kill('SIGKILL');
      if (changeCount % 2 === 1) await admin('remove', guest.address);
      await eventually(async () => !(await nodes()).includes(guest.address), 'the guest to leave');
      guest.started.child.kill('SIGKILL');
      await guest.started.exited;
      if (changeCount % 4 === 0) await bench.restart('decode', { gapMs: 1 }, (changeCount / 4) % 2);
      changeCount += 1;
    }
  };
  // What is only warm is no leak.
  expect((await bench.load(clientCount, Math.ceil(eachCount / 10))).failures).toEqual([]);
  const before = shapeOf(bench.proxyPid);
  const changing = change();
  const outcome = await bench.load(clientCount, eachCount);
  over = true;
  await changing;
  expect(outcome.failures).toEqual([]);
  expect(changeCount).toBeGreaterThan(1);
  const status = (await (await fetch(`${bench.url}/status`)).json()) as {
    requests_in_flight: number;
    decode_nodes: string[];
    instances: { active_requests: number }[];
  };
  expect(status.requests_in_flight).toBe(0);
  expect(status.decode_nodes).toHaveLength(2);
  expect(status.instances.map((one) => one.active_requests)).toEqual([0, 0, 0, 0]);
  const metrics = await (await fetch(`${bench.url}/metrics`)).text();
  for (const name of ['requests_in_flight', 'requests_queued', 'held_body_bytes']) {
    expect(metrics).toMatch(new RegExp(`^tsukimi_proxy_${name} 0$`, 'm'));
  }
  // Idle connections, of clients and to instances, are closed after some seconds.
  await eventually(
    () => shapeOf(bench.proxyPid).descriptors <= before.descriptors,
    'as few descriptors as before',
    60_000,
  );
  const after = shapeOf(bench.proxyPid);
  process.stdout.write(
    `soak: ${outcome.requests} requests, ${changeCount} changes of instances, ` +
      `${outcome.failures.length} failed, longest ${outcome.longestMs} ms; ` +
      `${before.megabytes} → ${after.megabytes} MB, ${before.descriptors} → ${after.descriptors} descriptors\n`,
  );
  expect(after.megabytes).toBeLessThan(before.megabytes * 1.25 + 20);
}, 1_800_000);
