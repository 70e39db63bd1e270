import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { eventually } from '@tsukimi/base/testing';
import { ScriptedInstance } from '@tsukimi/proxy/testing';
import { describe, expect, it, onTestFinished } from 'vitest';

const program = fileURLToPath(new URL('../packages/cli/bin/tsukimi.js', import.meta.url));
const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 4 };
const workerCount = 2;

interface Status {
  readonly workers: number;
  readonly decode_nodes: readonly string[];
  readonly instances: readonly { readonly address: string; readonly requests_total: number }[];
}

interface Running {
  readonly url: string;
  readonly child: ChildProcess;
  readonly prefill: ScriptedInstance;
  readonly decode: ScriptedInstance;
  /** Standard output so far. */
  readonly printed: () => string;
  /** Exit code. */
  ended: Promise<number | null>;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function start(...argv: readonly string[]): Promise<Running> {
  const [prefill, decode] = await Promise.all([
    new ScriptedInstance().start(),
    new ScriptedInstance().start(),
  ]);
  const port = await freePort();
  const child = spawn(
    process.execPath,
    [
      ...[program, 'proxy', '--model', 'tsukimi-demo', '--workers', String(workerCount)],
      ...['--host', '127.0.0.1', '--port', String(port), '--shutdown-timeout', '5'],
      ...['--prefill', prefill.address, '--decode', decode.address, ...argv],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ADMIN_API_KEY: 'secret' } },
  );
  let printed = '';
  child.stdout.on('data', (piece: Buffer) => {
    printed += piece.toString();
  });
  child.stderr.resume();
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
    await Promise.all([prefill.kill(), decode.kill()]);
  });
  await eventually(() => printed.includes('proxy on http://'), 'all workers', 10_000);
  const url = `http://127.0.0.1:${port}`;
  await eventually(
    async () => (await fetch(`${url}/ready`, { headers: { connection: 'close' } })).ok,
    'an instance',
  );
  return { url, child, prefill, decode, printed: () => printed, ended };
}

/** On a connection of its own, which takes the next worker's turn. */
function send(url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', connection: 'close', ...headers },
    body: JSON.stringify(body),
  });
}

async function statusOf(url: string, withinMs = 10_000): Promise<Status> {
  const response = await fetch(`${url}/status`, {
    headers: { connection: 'close' },
    signal: AbortSignal.timeout(withinMs),
  });
  return (await response.json()) as Status;
}

describe('tsukimi proxy --workers', () => {
  it('tells the whole of all workers, whichever is asked', async () => {
    const { url, decode } = await start('--access-log', 'json');
    for (let at = 0; at < 10; at += 1) {
      expect((await send(`${url}/v1/completions`, asked)).status).toBe(200);
    }
    for (let at = 0; at < workerCount + 1; at += 1) {
      const status = await statusOf(url);
      const [counted] = status.instances.filter(({ address }) => address === decode.address);
      expect([status.workers, counted?.requests_total]).toEqual([workerCount, 10]);
      const metrics = await fetch(`${url}/metrics`, { headers: { connection: 'close' } });
      expect(await metrics.text()).toContain(
        'tsukimi_proxy_requests_total{endpoint="/v1/completions",status="200"} 10\n',
      );
      const decisions = await fetch(`${url}/status/decisions`, {
        headers: { connection: 'close' },
      });
      const all = (await decisions.json()) as { decisions: { request_id: string }[] };
      expect(all.decisions).toHaveLength(20);
      // The prefix of the ids that a worker makes is its own.
      const makers = new Set(all.decisions.map((one) => one.request_id.split('-')[0]));
      expect(makers.size).toBe(workerCount);
    }
  });

  it('starts a worker that died again, with what the others know, and stops them all', async () => {
    const { url, child, ended, decode, printed } = await start('--access-log', 'json');
    const other = await new ScriptedInstance().start();
    onTestFinished(() => other.kill());
    const admin = { 'x-api-key': 'secret' };
    const added = { type: 'decode', instance: other.address };
    expect((await send(`${url}/instances/add`, added, admin)).status).toBe(200);
    const removed = { type: 'decode', instance: decode.address };
    expect((await send(`${url}/instances/remove`, removed, admin)).status).toBe(200);
    const agree = async () => {
      const seen = [await statusOf(url), await statusOf(url)];
      return seen.every(
        ({ workers, decode_nodes: nodes }) =>
          workers === workerCount && nodes.length === 1 && nodes[0] === other.address,
      );
    };
    await eventually(agree, 'the same instances at all workers');
    const workers = await childrenOf(child.pid ?? 0);
    expect(workers).toHaveLength(workerCount);
    process.kill(workers[0] ?? 0, 'SIGKILL');
    await eventually(
      async () => {
        const now = await childrenOf(child.pid ?? 0);
        return now.length === workerCount && !now.includes(workers[0] ?? 0) && (await agree());
      },
      'another worker',
      10_000,
    );
    for (let at = 0; at < 4; at += 1) {
      expect((await send(`${url}/v1/completions`, asked)).status).toBe(200);
    }
    expect(other.requests).toHaveLength(4);
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(printed().match(/"status":200/g)).toHaveLength(4);
    expect(await childrenOf(child.pid ?? 0)).toEqual([]);
  });

  it('replaces a worker that hangs, and answers for the others meanwhile', async () => {
    const { url, child } = await start();
    const [hung = 0] = await childrenOf(child.pid ?? 0);
    process.kill(hung, 'SIGSTOP');
    // Every other connection is the hung one's, and waits for nothing.
    const asking = [statusOf(url, 3_000), statusOf(url, 3_000)];
    const answers = await Promise.allSettled(asking);
    const told = answers.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    expect(told.map(({ workers }) => workers)).toEqual([workerCount - 1]);
    await eventually(
      async () => {
        const now = await childrenOf(child.pid ?? 0);
        return now.length === workerCount && !now.includes(hung);
      },
      'another worker',
      20_000,
    );
  });

  it('shares the limit of requests in progress', async () => {
    const { url, decode } = await start('--in-flight-max', '2', '--queue-max', '0');
    let go = () => {};
    decode.hold = new Promise((resolve) => {
      go = resolve;
    });
    const streams = [
      await send(`${url}/v1/completions`, { ...asked, stream: true }),
      await send(`${url}/v1/completions`, { ...asked, stream: true }),
    ];
    expect(streams.map(({ status }) => status)).toEqual([200, 200]);
    expect((await send(`${url}/v1/completions`, asked)).status).toBe(503);
    go();
    for (const stream of streams) expect(await stream.text()).toContain('[DONE]');
  });
});

async function childrenOf(pid: number): Promise<number[]> {
  const listing = spawn('ps', ['-o', 'pid=', '--ppid', String(pid)]);
  let text = '';
  listing.stdout.on('data', (piece: Buffer) => {
    text += piece.toString();
  });
  await new Promise((resolve) => listing.once('close', resolve));
  return text.trim() === '' ? [] : text.trim().split(/\s+/).map(Number);
}
