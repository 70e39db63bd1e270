import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import type { HeldMemory, Holding } from '../src/core/held-memory.ts';
import { limits } from '../src/deadlines.ts';
import { type ScriptedInstanceOptions, scriptedText } from '../src/testing.ts';
import { type Cluster, readStream, startCluster } from './cluster.ts';
import {
  mooncakeEngines,
  nixlEngines,
  nixlPushEngines,
  type PdEngines,
  p2pNcclEngines,
  sglangEngines,
} from './pd-engines.ts';

const prompt = 'Once upon a time';
const text = scriptedText(JSON.stringify(prompt), 5);
const asked = { model: 'tsukimi-demo', prompt, max_tokens: 5, unknown: { kept: true } };
const env = { ADMIN_API_KEY: 'secret' };

interface Way {
  readonly name: string;
  readonly engines: () => PdEngines;
  /** What an operator says of an instance, by `/instances/add`; nothing is said without. */
  /** Its legs are sent at once. */
  readonly together?: boolean;
  readonly said?: (kind: 'prefill' | 'decode', port: number) => object;
}

const ways: Way[] = [
  { name: 'nixl', engines: nixlEngines },
  { name: 'sglang', together: true, engines: sglangEngines },
  {
    name: 'mooncake',
    together: true,
    engines: mooncakeEngines,
    said: (_, port) => ({ bootstrap_port: port }),
  },
  {
    name: 'mooncake_v0',
    engines: nixlEngines,
    said: () => ({ pd_protocol: 'mooncake_v0' }),
  },
  {
    name: 'nixl_push',
    together: true,
    engines: nixlPushEngines,
    said: (kind) => ({
      pd_protocol: 'nixl_push',
      ...(kind === 'prefill' ? { engine_id: 'engine-p', kv_port: 5_600, tp_size: 2 } : {}),
    }),
  },
  {
    name: 'p2p_nccl',
    engines: p2pNcclEngines,
    said: (kind) => ({
      pd_protocol: 'p2p_nccl',
      kv_port: kind === 'prefill' ? 21_001 : 22_001,
    }),
  },
];

/** Leaves room for a request, and for no answer. */
function fill(memory: HeldMemory): Holding[] {
  const others: Holding[] = [];
  for (let byteCount = limits.heldByteCountMax / 2; byteCount > 1_000; byteCount /= 2) {
    const other = memory.open(`other ${byteCount}`);
    expect(other.take(byteCount)).toBe(true);
    others.push(other);
  }
  return others;
}

async function startEngines({ engines, said }: Way): Promise<[Cluster, PdEngines]> {
  const made = engines();
  const cluster = await startCluster({ env, prefill: [made.prefill], decode: [made.decode] });
  if (said === undefined) return [cluster, made];
  for (const kind of ['prefill', 'decode'] as const) {
    for (const { address, port } of cluster[kind]) {
      for (const path of ['remove', 'add']) {
        const response = await fetch(`${cluster.url}/instances/${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-api-key': 'secret' },
          body: JSON.stringify({ type: kind, instance: address, ...said(kind, port) }),
        });
        expect(response.status, await response.text()).toBe(200);
      }
    }
  }
  return [cluster, made];
}

async function protocolsOf({ url }: Cluster): Promise<(string | null)[]> {
  const status = (await (await fetch(`${url}/status`)).json()) as {
    instances: { kind: string; pd_protocol: string | null }[];
  };
  return status.instances
    .filter(({ kind }) => kind === 'prefill')
    .map(({ pd_protocol: protocol }) => protocol);
}

describe.each(ways)('engines with $name', (way) => {
  it('answer as one instance would, each hand-over being used once', async () => {
    const [started, engines] = await startEngines(way);
    await using cluster = started;
    for (let count = 0; count < 4; count += 1) {
      const response = await cluster.post(asked);
      expect(await response.json()).toMatchObject({ choices: [{ text }] });
      const streamed = await readStream(
        await cluster.post({ ...asked, stream: true, stream_options: { include_usage: true } }),
      );
      expect(streamed).toMatchObject({ text, done: true, error: null });
    }
    for (const kind of ['prefill', 'decode'] as const) {
      // A leg that ends when its work is done already is called off by name at some engines.
      const legs = cluster.sent(kind).filter(({ path }) => path !== '/abort_request');
      expect(legs.map(({ body }) => body['unknown'])).toEqual(Array(8).fill({ kept: true }));
    }
    expect(await protocolsOf(cluster)).toEqual([way.name]);
    expect(engines.heldCount()).toBe(0);
  });

  it('get a new hand-over when a decode leg fails', async () => {
    const [started, engines] = await startEngines(way);
    await using cluster = started;
    const [decode] = cluster.decode;
    if (decode === undefined) throw new Error('no decode instance');
    let count = 0;
    decode.fate = () => (count++ === 0 ? { kind: 'status', status: 503 } : { kind: 'serve' });
    expect(await (await cluster.post(asked)).json()).toMatchObject({ choices: [{ text }] });
    const legs = cluster.sent('prefill').filter(({ path }) => path !== '/abort_request');
    expect(legs.length).toBeGreaterThan(1);
    // What was kept for the leg that failed is the engine's to drop, after its own time.
    expect(engines.heldCount()).toBeLessThanOrEqual(1);
  });

  it('are not blamed where there is no memory for an answer', async () => {
    const made = way.engines();
    let answer = () => {};
    const streamed = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const connector: ScriptedInstanceOptions['connector'] = async (request) => {
      const members = await made.prefill.connector?.(request);
      if (way.together) await streamed;
      return { ...members, filler: 'x'.repeat(10_000) };
    };
    const engines = { ...made, prefill: { ...made.prefill, connector } };
    await using cluster = (await startEngines({ ...way, engines: () => engines }))[0];
    const { memory, pool } = cluster.proxy;
    const others = fill(memory);
    const [decode] = cluster.decode;
    if (decode !== undefined) decode.hold = streamed;
    const response = await cluster.post({ ...asked, stream: true });
    expect(response.status).toBe(way.together ? 200 : 503);
    answer();
    if (way.together) expect(await readStream(response)).toMatchObject({ text, error: null });
    expect(pool.instances.map(({ failureCount }) => failureCount)).toEqual([0, 0]);
    await eventually(() => cluster.proxy.admission.activeCount === 0, 'the end of both legs');
    for (const other of others) other.release();
    expect(memory.byteCount).toBe(0);
  });

  it('let go of both legs when the client leaves', async () => {
    const [started, engines] = await startEngines(way);
    await using cluster = started;
    const [decode] = cluster.decode;
    if (decode === undefined) throw new Error('no decode instance');
    let goOn = () => {};
    decode.hold = new Promise((resolve) => {
      goOn = resolve;
    });
    const leaving = new AbortController();
    const response = await cluster.post({ ...asked, stream: true }, { signal: leaving.signal });
    await response.body?.getReader().read();
    leaving.abort();
    const [sent] = cluster.sent('decode');
    await eventually(() => sent?.aborted === true, 'the decode leg to end');
    goOn();
    await eventually(() => cluster.proxy.admission.activeCount === 0, 'the end of both legs');
    expect(engines.heldCount()).toBe(0);
  });
});
