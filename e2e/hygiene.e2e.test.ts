import { closeSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { below, SeededRandom } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask } from './client.ts';
import { Cluster } from './cluster.ts';
import { garbage, HostileClients, halfFrame, halfHead, oversized } from './hostile.ts';
import { LoneInstance } from './lone.ts';
import { form, sized } from './processes.ts';
import { corpusTokens, cutPrompts, mapConcurrently } from './prompts.ts';

const model = 'tsukimi-demo-1m';
const requestCount = sized({ smoke: 40, full: 200 });
const random = new SeededRandom(20_260_801);

let lone: LoneInstance;
let corpus: number[];

beforeAll(async () => {
  lone = await LoneInstance.start(model);
  corpus = await corpusTokens(lone.url);
});

afterAll(() => lone[Symbol.asyncDispose]());

interface Invariants {
  readonly ok: boolean;
  readonly objects: number;
  readonly leases: number;
  readonly unfinishedPuts: number;
  readonly setAsideBytes: number;
  readonly clients: number;
  readonly segments: readonly { readonly usedBytes: number }[];
}

interface StoredBuffer {
  readonly size_: number;
  readonly buffer_address_: number;
  readonly transport_endpoint_: string;
}

async function storedBuffers(cluster: Cluster): Promise<StoredBuffer[]> {
  const keys = (await (await fetch(`${cluster.adminUrl}/get_all_keys`)).text())
    .split('\n')
    .filter((key) => key !== '');
  const buffers: StoredBuffer[] = [];
  // A key is about 120 characters, and what fits a request's head is 16 KiB.
  for (let first = 0; first < keys.length; first += 50) {
    const asked = keys.slice(first, first + 50).map(encodeURIComponent);
    const response = await fetch(`${cluster.adminUrl}/batch_query_keys?keys=${asked.join(',')}`);
    const { data } = (await response.json()) as {
      data: Record<string, { values: StoredBuffer[] | null }>;
    };
    buffers.push(...Object.values(data).flatMap(({ values }) => values ?? []));
  }
  return buffers;
}

interface Footprint {
  readonly descriptorCount: number;
  /** Resident, less the pages of shared segments: those fill with cached objects, as planned. */
  readonly residentMib: number;
}

function footprint(pid: number): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  return {
    descriptorCount: readdirSync(`/proc/${pid}/fd`).length,
    residentMib: (kib('VmRSS') - kib('RssShmem')) / 1_024,
  };
}

describe('requests that are cancelled, and instances that are killed', () => {
  const survivors = ['proxy', 'master', 'metadata', 'prefill-1', 'decode-1'];
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.start({
      model,
      masterArgs: [
        ...['--default_kv_lease_ttl=500', '--client_ttl=5'],
        ...['--put_start_discard_timeout_sec=3', '--put_start_release_timeout_sec=5'],
      ],
    });
  });

  afterAll(() => cluster[Symbol.asyncDispose]());

  const pidOf = (name: string) => cluster.started(name).child.pid as number;

  async function restart(name: string): Promise<void> {
    await cluster.kill(name);
    cluster.restart(name);
    await cluster.readyInstance(name);
  }

  /** Eight at a time; two of five are given up at some moment, and two instances are killed meanwhile. */
  async function batch(): Promise<void> {
    const prompts = cutPrompts(corpus.slice(below(random, 4_000)), {
      ...{ count: requestCount, from: 20, to: 900 },
    });
    let doneCount = 0;
    const restarts: Promise<void>[] = [];
    const failures = await mapConcurrently(prompts, 8, async (prompt, index) => {
      const isCancelled = below(random, 5) < 2;
      const waitMs = below(random, 400);
      const giveUp = new AbortController();
      const timer = isCancelled ? setTimeout(() => giveUp.abort(), waitMs) : undefined;
      const body = { model, prompt, max_tokens: 40, temperature: 0, stream: index % 2 === 0 };
      const { failure } = await ask(cluster.url, body, { signal: giveUp.signal });
      clearTimeout(timer);
      doneCount += 1;
      if (doneCount === Math.floor(requestCount / 4)) restarts.push(restart('decode-0'));
      if (doneCount === Math.floor(requestCount / 2)) restarts.push(restart('prefill-0'));
      return isCancelled ? null : failure;
    });
    await Promise.all(restarts);
    expect(failures.filter((failure) => failure !== null)).toEqual([]);
  }

  async function expectTidy(): Promise<void> {
    for (const name of cluster.instanceNames) {
      for (const metric of ['vllm:num_requests_running', 'vllm:num_requests_waiting']) {
        await eventually(
          async () => (await cluster.metric(metric, cluster.instanceUrl(name))) === 0,
          `${metric} of ${name} to be 0`,
        );
      }
    }
    let last: Invariants | null = null;
    const invariants = await eventually(
      async () => {
        last = (await (await fetch(`${cluster.adminUrl}/debug/invariants`)).json()) as Invariants;
        const { leases, unfinishedPuts, setAsideBytes, clients } = last;
        return leases + unfinishedPuts + setAsideBytes === 0 && clients === 2 && last;
      },
      'leases, unfinished puts and dead clients to be gone',
      30_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(last)}`);
    });
    expect(invariants.ok).toBe(true);
    expect(invariants.objects).toBeGreaterThan(0);
    expect(await cluster.metric('master_key_count')).toBe(invariants.objects);
    const buffers = await storedBuffers(cluster);
    expect(buffers).toHaveLength(invariants.objects);
    const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0);
    // Not a byte more than the objects that can be asked for.
    expect(sum(invariants.segments.map(({ usedBytes }) => usedBytes))).toBe(
      sum(buffers.map(({ size_ }) => size_)),
    );
    // Consumers lend the store no memory, and those killed are forgotten.
    expect(invariants.segments).toHaveLength(2);
  }

  const footprints = () => survivors.map((name) => ({ name, ...footprint(pidOf(name)) }));

  it('leave nothing behind, however many there were', async () => {
    const pids = survivors.map(pidOf);
    await batch();
    await expectTidy();
    const first = footprints();
    await batch();
    await expectTidy();

    const slackMib = form === 'full' ? 0 : 8;
    const grown = () =>
      footprints().filter(({ descriptorCount, residentMib }, index) => {
        const before = first[index] as Footprint;
        return (
          descriptorCount > before.descriptorCount * 1.05 + 2 ||
          residentMib > before.residentMib * 1.1 + slackMib
        );
      });
    // Connections that nobody uses are closed after a while, and V8 gives memory back when it is idle.
    await eventually(() => grown().length === 0, 'footprints as before', 45_000).catch(() => {});
    const second = footprints();
    console.info(
      'footprints after the first batch and the second (descriptors, MiB):',
      first
        .map(({ name, descriptorCount, residentMib }, index) => {
          const now = second[index] as Footprint;
          return `${name} ${descriptorCount} ${residentMib.toFixed(1)} -> ${now.descriptorCount} ${now.residentMib.toFixed(1)}`;
        })
        .join('; '),
    );
    expect(grown()).toEqual([]);
    expect(survivors.map(pidOf)).toEqual(pids);
  });
});

describe('a flipped bit in a stored chunk', () => {
  it('is found: the chunk is computed and stored again, with the same text, and counted', async () => {
    await using cluster = await Cluster.start({ model, prefill: 1, decode: 1 });
    const body = { model, prompt: corpus.slice(300, 1_000), max_tokens: 30, temperature: 0 };
    const [expected] = await lone.texts([body]);
    const cachedAndLoaded = async () => {
      const { text, usage } = await ask(cluster.url, body);
      expect(text).toBe(expected);
      const { cached_tokens, decode_loaded_tokens } = usage?.prompt_tokens_details ?? {};
      return [cached_tokens, decode_loaded_tokens];
    };
    expect(await cachedAndLoaded()).toEqual([0, 699]);
    expect(await cachedAndLoaded()).toEqual([699, 699]);

    const buffers = await storedBuffers(cluster);
    // Two whole chunks of 256 and one of 188.
    expect(buffers).toHaveLength(3);
    for (const buffer of buffers) await flipBit(cluster, buffer);

    const corruptCount = async () => {
      const counts = await Promise.all(
        cluster.instanceNames.map((name) =>
          cluster.metric('tsukimi_kv_chunks_corrupt_total', cluster.instanceUrl(name)),
        ),
      );
      return counts.reduce((sum, count) => sum + count, 0);
    };
    expect(await corruptCount()).toBe(0);
    const [cached] = await cachedAndLoaded();
    expect(cached).toBe(0);
    expect(await corruptCount()).toBeGreaterThan(0);
    // The broken ones have made room for good ones.
    await eventually(
      async () => (await cachedAndLoaded()).join() === '699,699',
      'the chunks to be stored anew',
    );
  });

  /** Changes one random bit behind the chunk's header, in the file below its segment. */
  async function flipBit(cluster: Cluster, buffer: StoredBuffer): Promise<void> {
    const { metadata_server } = JSON.parse(readFileSync(cluster.configPath, 'utf8')) as {
      metadata_server: string;
    };
    const key = encodeURIComponent(`mooncake/ram/${buffer.transport_endpoint_}`);
    const descriptor = (await (await fetch(`${metadata_server}?key=${key}`)).json()) as {
      tsukimi_shm: { buffers: { addr: number; length: number; path: string }[] };
    };
    const segment = descriptor.tsukimi_shm.buffers.find(
      ({ addr, length }) =>
        addr <= buffer.buffer_address_ && buffer.buffer_address_ + buffer.size_ <= addr + length,
    );
    if (segment === undefined) throw new Error(`no segment has ${JSON.stringify(buffer)}`);
    const headerByteCount = 64;
    const at =
      buffer.buffer_address_ -
      segment.addr +
      headerByteCount +
      below(random, buffer.size_ - headerByteCount);
    const file = openSync(segment.path, 'r+');
    const byte = Buffer.alloc(1);
    expect(readSync(file, byte, 0, 1, at)).toBe(1);
    byte.writeUInt8(byte.readUInt8() ^ (1 << below(random, 8)));
    writeSync(file, byte, 0, 1, at);
    closeSync(file);
  }
});

describe('hostile clients on every port', () => {
  it('harm nobody', async () => {
    // Over TCP: then the data ports, too, have work to do meanwhile.
    await using cluster = await Cluster.start({
      ...{ model, prefill: 1, decode: 1, serveArgs: ['--no-shared-memory'] },
    });
    const names = ['metadata', 'master', 'proxy', ...cluster.instanceNames];
    const pids = names.map((name) => cluster.started(name).child.pid);
    const prompts = cutPrompts(corpus, { count: 4, from: 300, to: 500 });
    const bodies = prompts.map((prompt) => ({ model, prompt, max_tokens: 10, temperature: 0 }));
    const expected = await lone.texts(bodies);

    const config = JSON.parse(readFileSync(cluster.configPath, 'utf8')) as Record<string, string>;
    const metadataUrl = new URL(config['metadata_server'] ?? '');
    const httpUrls = [
      ...[metadataUrl.origin, cluster.adminUrl, cluster.url],
      ...cluster.instanceNames.map((name) => cluster.instanceUrl(name)),
    ];
    const httpPorts = httpUrls.map((url) => Number(new URL(url).port));
    const rpcPort = Number((config['master_server_address'] ?? '').split(':')[1]);
    const transfer = cluster.instanceNames.map((name) => {
      const log = cluster.started(name).log();
      const port = (field: string) =>
        Number(new RegExp(`transfer\\.listening.*?${field}"?[=:](\\d+)`).exec(log)?.[1]);
      return { data: port('dataPort'), handshake: port('rpcPort') };
    });
    const ports = [...httpPorts, rpcPort, ...transfer.flatMap(Object.values<number>)];
    expect(ports).toHaveLength(10);
    expect(ports.every((port) => port > 0)).toBe(true);

    const expectServing = async (index: number) => {
      for (const url of httpUrls) {
        const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(5_000) });
        expect([url, response.status]).toEqual([url, 200]);
        await response.arrayBuffer();
      }
      const body = bodies[index] as (typeof bodies)[number];
      const answer = await ask(cluster.url, body);
      expect([answer.failure, answer.text]).toEqual([null, expected[index]]);
      // The master and the data ports have served, too.
      expect(answer.usage?.prompt_tokens_details?.decode_loaded_tokens).toBe(
        body.prompt.length - 1,
      );
    };
    await expectServing(0);

    using clients = new HostileClients();
    const isHttp = (port: number) => httpPorts.includes(port);
    const cutOff = ports
      // The data plane gives a stalled request half a minute: too long for the short form.
      .filter((port) => form === 'full' || !transfer.some(({ data }) => data === port))
      .map(async (port) => {
        await clients.slowly(port, isHttp(port) ? halfHead : halfFrame, isHttp(port) ? 0x61 : 0);
      });
    for (const port of ports) {
      for (let count = 0; count < 10; count++) clients.send(port, garbage(random, 2 ** 12));
      for (const bytes of oversized()) clients.send(port, bytes);
    }
    await expectServing(1);
    for (const port of ports) await clients.idle(port, sized({ smoke: 200, full: 1_000 }));
    await expectServing(2);
    await Promise.all(cutOff);
    await expectServing(3);
    expect(names.map((name) => cluster.started(name).child.pid)).toEqual(pids);
    expect(names.map((name) => cluster.started(name).child.exitCode)).toEqual(
      names.map(() => null),
    );
  });
});
