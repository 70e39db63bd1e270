import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { ask } from './client.ts';
import { freePorts, isFree, Processes, type Started } from './processes.ts';

const model = 'tsukimi-demo-1m';

/** `tsukimi up` on ports of its own. */
async function startUp(
  processes: Processes,
  options: { args?: string[]; prefix?: string[]; uid?: number; env?: Record<string, string> } = {},
) {
  const first = await freePorts(12);
  const runDirectory = join(processes.directory, `up-${first}`);
  const started = processes.start(
    [
      ...['up', '--model', model, '--prefill', '1', '--decode', '1', '--segment-size', '32mb'],
      ...['--port', String(first), '--prefill-port', String(first + 1)],
      ...['--decode-port', String(first + 3), '--metadata-port', String(first + 6)],
      ...['--master-port', String(first + 7), '--metrics-port', String(first + 8)],
      ...['--run-directory', runDirectory, ...(options.args ?? [])],
    ],
    options,
  );
  const ports = [0, 1, 3, 6, 7, 8].map((offset) => first + offset);
  return { started, ports, url: `http://127.0.0.1:${first}`, runDirectory, adminPort: first + 8 };
}

const untilPrinted = (started: Started, pattern: RegExp) =>
  eventually(() => pattern.exec(started.log()), `${pattern} in the output`, 60_000).catch(
    (error: unknown) => {
      throw new Error(`${String(error)}\n${started.log()}`);
    },
  );

const childPids = (started: Started): number[] =>
  [...started.log().matchAll(/^\S+ +(\d+) +[\d.]+:\d+ +ready$/gm)].map((match) => Number(match[1]));

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Segments of these processes: their names hold the owner's pid. */
const segmentFiles = (pids: readonly number[]) =>
  readdirSync('/dev/shm').filter((name) => pids.some((pid) => name.includes(`-${pid}-`)));

async function expectNothingLeft(pids: number[], ports: number[]): Promise<void> {
  await eventually(() => pids.every((pid) => !isRunning(pid)), 'all processes to be gone', 15_000);
  expect(await Promise.all(ports.map(isFree))).toEqual(ports.map(() => true));
}

describe('tsukimi up', () => {
  it('prints a table, then a ready line whose curl works, and leaves nothing after Ctrl-C', async () => {
    await using processes = new Processes();
    const { started, ports, url } = await startUp(processes);
    const [, curl] = await untilPrinted(started, /^ready .*(curl .*)$/m);
    const pids = childPids(started);
    expect(pids).toHaveLength(5);
    const answer = JSON.parse(execFileSync('sh', ['-c', curl as string], { encoding: 'utf8' })) as {
      choices: { text: string; finish_reason: string }[];
      usage: { total_tokens: number };
    };
    expect(answer.choices[0]?.text.length).toBeGreaterThan(5);
    expect(answer.usage.total_tokens).toBeGreaterThan(5);
    expect(segmentFiles(pids)).toHaveLength(1);
    const status = await (await fetch(`${url}/status`)).json();
    expect(status).toMatchObject({ prefill_node_count: 1, decode_node_count: 1 });

    started.child.kill('SIGINT');

    expect(await started.exited).toEqual([0, null]);
    await expectNothingLeft(pids, ports);
    expect(segmentFiles(pids)).toEqual([]);
  });

  it('starts a child again that dies', async () => {
    await using processes = new Processes();
    const { started, url } = await startUp(processes);
    await untilPrinted(started, /^ready /m);
    const pid = Number(/^decode-0 +(\d+)/m.exec(started.log())?.[1]);
    process.kill(pid, 'SIGKILL');
    await untilPrinted(started, /^decode-0 is ready again/m);
    const answer = await ask(url, { model, prompt: 'Hello', max_tokens: 3 });
    expect(answer.failure).toBeNull();
  });

  it('leaves no orphan when it is killed, and starts again afterwards', async () => {
    await using processes = new Processes();
    const first = await startUp(processes);
    await untilPrinted(first.started, /^ready /m);
    const pids = childPids(first.started);
    first.started.child.kill('SIGKILL');
    await expectNothingLeft(pids, first.ports);

    const second = await startUp(processes);
    await untilPrinted(second.started, /^ready /m);
    const secondPids = childPids(second.started);
    for (const pid of secondPids) process.kill(pid, 'SIGKILL');
    second.started.child.kill('SIGKILL');
    await second.started.exited;

    // Nobody was left to clean up: the next start does.
    const third = await startUp(processes);
    await untilPrinted(third.started, /^ready /m);
    expect(segmentFiles(secondPids)).toEqual([]);
    const thirdPids = childPids(third.started);
    third.started.child.kill('SIGTERM');
    await third.started.exited;
    expect(segmentFiles([...pids, ...thirdPids])).toEqual([]);
  });

  it('runs as an ordinary user', async () => {
    await using processes = new Processes();
    execFileSync('chmod', ['-R', 'a+rwX', processes.directory]);
    const { started, url } = await startUp(processes, {
      uid: 65_534,
      env: { HOME: '/nonexistent' },
    });
    await untilPrinted(started, /^ready /m);
    expect((await ask(url, { model, prompt: 'Hello', max_tokens: 3 })).failure).toBeNull();
    started.child.kill('SIGINT');
    expect(await started.exited).toEqual([0, null]);
  });

  it('falls back to private memory and TCP when /dev/shm is small', async () => {
    await using processes = new Processes();
    const small = 'mount -t tmpfs -o size=16m tmpfs /dev/shm && exec "$@"';
    const { started, url, runDirectory } = await startUp(processes, {
      prefix: ['unshare', '-m', 'sh', '-c', small, 'sh'],
    });
    await untilPrinted(started, /^ready /m);
    const prompt = 'Once upon a time there was a fox who lost a kite. '.repeat(30);
    const answer = await ask(url, { model, prompt, max_tokens: 3 });
    expect(answer.usage?.prompt_tokens_details?.decode_loaded_tokens).toBe(
      (answer.usage?.prompt_tokens ?? 0) - 1,
    );
    const log = execFileSync('cat', [join(runDirectory, 'prefill-0.log')], { encoding: 'utf8' });
    expect(log.match(/\/dev\/shm/g)).toHaveLength(1);
    started.child.kill('SIGINT');
    await started.exited;
  });

  it('says in one sentence what stops it, which option helps, and leaves nothing', async () => {
    await using processes = new Processes();
    const busy = createServer();
    const port = await new Promise<number>((resolve) => {
      busy.listen(0, '127.0.0.1', () => resolve((busy.address() as { port: number }).port));
    });
    const cases: [string[], RegExp][] = [
      [['--port', String(port)], /^tsukimi up: proxy: .*already in use.*--port$/m],
      [['--model', '/no/such/model.gguf'], /^tsukimi up: --model: .*\/no\/such\/model\.gguf/m],
      [['--gpu-memory-utilization', '0.0001'], /^tsukimi up: .*(--gpu-memory-utilization)/m],
      [['--prefil', '1'], /--prefil: unknown option/],
    ];
    for (const [args, sentence] of cases) {
      const { started } = await startUp(processes, { args });
      const [code] = await started.exited;
      expect(code).not.toBe(0);
      expect(started.log()).toMatch(sentence);
      expect(started.log().trimEnd().split('\n')).toHaveLength(1);
    }
    busy.close();
  });
});

describe('tsukimi', () => {
  it('explains each option of each command', async () => {
    await using processes = new Processes();
    for (const command of ['up', 'metadata', 'master', 'serve', 'proxy']) {
      const started = processes.start([command, '--help']);
      expect(await started.exited).toEqual([0, null]);
      expect(started.log()).toMatch(/--port/);
    }
    expect(existsSync(processes.directory)).toBe(true);
  });
});
