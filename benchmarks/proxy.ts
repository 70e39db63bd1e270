/**
 * What the proxy costs: requests and streamed tokens a second through it, beside the same two legs
 * sent by the client itself. Client, proxy and scripted instances are processes of their own, and
 * share the machine's cores.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { loadOptions, SystemClock, SystemRandom, silentLogger } from '@tsukimi/base';
import { assembleProxy, proxyOptions } from '@tsukimi/proxy';
import { ScriptedInstance } from '@tsukimi/proxy/testing';
import { Pool } from 'undici';

const clientCount = 16;
const streamTokenCount = 200;
const roundMs = 1_500;
const roundCount = 2;
const prompt = 'Once upon a time there was a proxy. '.repeat(14);

interface Ways {
  readonly prefill: Pool;
  readonly decode: Pool;
  readonly proxy: Pool;
}

/** One JSON object: rates through the proxy and direct, alternating, and their ratios. */
export async function run(): Promise<object> {
  const self = fileURLToPath(import.meta.url);
  const instances = fork(self, ['instances']);
  const [ports] = (await once(instances, 'message')) as [number[]];
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  const proxy = fork(self, ['proxy', ...addresses]);
  const [proxyPort] = (await once(proxy, 'message')) as [number];
  const pool = (port: number | undefined) =>
    new Pool(`http://127.0.0.1:${port}`, { connections: clientCount, pipelining: 1 });
  const ways: Ways = { prefill: pool(ports[0]), decode: pool(ports[1]), proxy: pool(proxyPort) };
  try {
    return await measured(ways, proxy);
  } finally {
    await Promise.all(Object.values(ways).map((one: Pool) => one.destroy()));
    for (const child of [proxy, instances]) child.kill('SIGKILL');
  }
}

async function measured(ways: Ways, proxy: ChildProcess): Promise<object> {
  const short = { model: 'bench', prompt, max_tokens: 4 };
  const long = { ...short, max_tokens: streamTokenCount, stream: true };
  const sums = { requestsDirect: 0, requestsProxy: 0, tokensDirect: 0, tokensProxy: 0 };
  let proxyCpuSeconds = 0;
  await rate(() => through(ways, short), 500);
  for (let round = 0; round < roundCount; round += 1) {
    sums.requestsDirect += await rate(() => direct(ways, short));
    const before = await cpuSeconds(proxy);
    sums.requestsProxy += await rate(() => through(ways, short));
    proxyCpuSeconds += (await cpuSeconds(proxy)) - before;
    sums.tokensDirect += streamTokenCount * (await rate(() => direct(ways, long)));
    sums.tokensProxy += streamTokenCount * (await rate(() => through(ways, long)));
  }
  const requests = (sums.requestsProxy * roundMs) / 1_000;
  const mean = (sum: number) => Math.round(sum / roundCount);
  return {
    benchmark: 'proxy',
    clients: clientCount,
    requests_per_second: mean(sums.requestsProxy),
    requests_per_second_direct: mean(sums.requestsDirect),
    requests_ratio: ratio(sums.requestsProxy, sums.requestsDirect),
    proxy_cpu_seconds_per_1000_requests: Number(((proxyCpuSeconds / requests) * 1_000).toFixed(3)),
    streamed_tokens_per_second: mean(sums.tokensProxy),
    streamed_tokens_per_second_direct: mean(sums.tokensDirect),
    streamed_tokens_ratio: ratio(sums.tokensProxy, sums.tokensDirect),
  };
}

async function direct(ways: Ways, body: object): Promise<void> {
  await post(ways.prefill, { ...body, max_tokens: 1, stream: false });
  await post(ways.decode, body);
}

async function through(ways: Ways, body: object): Promise<void> {
  await post(ways.proxy, body);
}

async function post(pool: Pool, body: object): Promise<void> {
  const answer = await pool.request({
    method: 'POST',
    path: '/v1/completions',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}: ${text}`);
}

/** Completed calls a second by all clients together. */
async function rate(call: () => Promise<void>, forMs = roundMs): Promise<number> {
  const startMs = performance.now();
  let count = 0;
  const client = async () => {
    while (performance.now() - startMs < forMs) {
      await call();
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: clientCount }, client));
  return count / ((performance.now() - startMs) / 1_000);
}

async function cpuSeconds(child: ChildProcess): Promise<number> {
  child.send('cpu');
  const [seconds] = (await once(child, 'message')) as [number];
  return seconds;
}

function ratio(one: number, other: number): number {
  return Number((one / other).toFixed(3));
}

async function beInstances(): Promise<void> {
  const options = { model: 'bench', keepsRequests: false };
  const instances = [new ScriptedInstance(options), new ScriptedInstance(options)];
  for (const instance of instances) await instance.start();
  process.send?.(instances.map(({ port }) => port));
}

async function beProxy([prefill, decode]: readonly string[]): Promise<void> {
  const argv = ['--model', 'bench', '--host', '127.0.0.1', '--port', '0'];
  const { services, entrance } = assembleProxy(
    loadOptions(proxyOptions, {
      argv: [...argv, '--prefill', String(prefill), '--decode', String(decode)],
      env: {},
    }),
    {
      clock: new SystemClock(),
      random: new SystemRandom(),
      logger: silentLogger,
      env: {},
      print: () => {},
    },
  );
  for (const service of services) await service.start();
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send?.((user + system) / 1e6);
  });
  process.send?.(entrance.port);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.on('disconnect', () => process.exit());
  const [role, ...rest] = process.argv.slice(2);
  if (role === 'instances') await beInstances();
  else if (role === 'proxy') await beProxy(rest);
  else process.stdout.write(`${JSON.stringify(await run())}\n`);
}
