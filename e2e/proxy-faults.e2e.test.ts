import { fileURLToPath } from 'node:url';
import { eventually } from '@tsukimi/base/testing';
import { type Fate, type ScriptedInstanceOptions, scriptedText } from '@tsukimi/proxy/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePorts, Processes, type Started, sized, untilReady } from './processes.ts';

const script = fileURLToPath(new URL('./scripted-instance.ts', import.meta.url));
const clientCount = 64;
const requestsPerClient = sized({ smoke: 4, full: 40 });
const tokenCount = 24;
/** Of one request, whatever happens: both legs once more after their first bytes were waited for. */
const requestMs = 12_000;

type Name = 'prefill-0' | 'prefill-1' | 'decode-0' | 'decode-1';
const names: readonly Name[] = ['prefill-0', 'prefill-1', 'decode-0', 'decode-1'];

interface Told {
  /** What is wrong with it, or null. */
  readonly flaw: string | null;
  readonly status: number;
  readonly ms: number;
}

interface Group {
  readonly processes: Processes;
  readonly url: string;
  readonly portOf: (name: Name) => number;
  readonly running: Map<Name, Started>;
  readonly ours: boolean;
}

async function startInstance(group: Group, name: Name, more: ScriptedInstanceOptions = {}) {
  const options = { ours: group.ours, port: group.portOf(name), ...more };
  const started = group.processes.startCommand(
    name,
    [
      ...[process.execPath, '--conditions=@tsukimi/source', '--import', import.meta.resolve('tsx')],
      ...[script, JSON.stringify(options)],
    ],
    { pipes: true },
  );
  group.running.set(name, started);
  await untilReady(`http://127.0.0.1:${group.portOf(name)}/health`, started);
}

async function kill(group: Group, name: Name): Promise<void> {
  const started = group.running.get(name);
  started?.child.kill('SIGKILL');
  await started?.exited;
}

/** So that nothing is left of what the proxy thought of it. */
async function restart(group: Group, name: Name): Promise<void> {
  await kill(group, name);
  await untilUp(group, 3);
  await startInstance(group, name);
  await untilUp(group, 4);
}

/** Resolves with how many requests met the fate before. */
async function setFate(group: Group, name: Name, fate: Fate): Promise<number> {
  const { child } = group.running.get(name) as Started;
  const answered = new Promise<Buffer>((resolve) => child.stdout?.once('data', resolve));
  child.stdin?.write(`${JSON.stringify(fate)}\n`);
  return Number((await answered).toString());
}

async function untilUp(group: Group, count: number): Promise<void> {
  await eventually(
    async () => {
      const status = (await (await fetch(`${group.url}/status`)).json()) as {
        instances: { state: string }[];
      };
      return status.instances.filter(({ state }) => state === 'up').length === count;
    },
    `${count} instances to be up`,
    30_000,
  );
}

async function ask(url: string, prompt: string, stream: boolean): Promise<Told> {
  const beganMs = performance.now();
  const told = (flaw: string | null, status = 0): Told => ({
    flaw,
    status,
    ms: performance.now() - beganMs,
  });
  try {
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'tsukimi-demo', prompt, max_tokens: tokenCount, stream }),
      signal: AbortSignal.timeout(requestMs),
    });
    const body = await response.text();
    if (response.status !== 200) return told(body.slice(0, 200), response.status);
    const expected = scriptedText(JSON.stringify(prompt), tokenCount);
    const text = stream ? textOfEvents(body) : wholeText(body);
    return told(text === expected ? null : `other text: ${body.slice(-300)}`, 200);
  } catch (error) {
    return told(String(error));
  }
}

function wholeText(body: string): string {
  const answer = JSON.parse(body) as { choices: { text: string }[] };
  return answer.choices[0]?.text ?? '';
}

function textOfEvents(body: string): string {
  const events = body.split('\n\n').filter((event) => event.startsWith('data: '));
  if (events.at(-1) !== 'data: [DONE]') return `no end: ${events.at(-1)}`;
  return events
    .slice(0, -1)
    .map((event) => wholeText(event.slice('data: '.length)))
    .join('');
}

/** Every client asks again and again, every other one for a stream; `midway` happens to them all. */
async function load(url: string, midway: () => Promise<void>): Promise<Told[]> {
  const all: Told[] = [];
  const clients = Array.from({ length: clientCount }, async (_, client) => {
    for (let at = 0; at < requestsPerClient; at += 1) {
      all.push(await ask(url, `client ${client} asks ${at}`, client % 2 === 0));
    }
  });
  await eventually(() => all.length >= clientCount, 'the first answers', requestMs);
  await midway();
  await Promise.all(clients);
  return all;
}

const rows: { row: string; requests: number; failed: number; longestMs: number }[] = [];

function note(row: string, all: readonly Told[]): readonly Told[] {
  const failed = all.filter(({ flaw }) => flaw !== null);
  const longestMs = Math.round(Math.max(...all.map(({ ms }) => ms)));
  rows.push({ row, requests: all.length, failed: failed.length, longestMs });
  return failed;
}

const nothing = async () => {};
const fates: readonly { readonly row: string; readonly fate: Fate }[] = [
  { row: 'accepts and never answers', fate: { kind: 'hang' } },
  { row: 'answers 500', fate: { kind: 'status', status: 500 } },
  { row: 'answers 503', fate: { kind: 'status', status: 503 } },
  { row: 'answers garbage', fate: { kind: 'garbage' } },
  { row: 'answers half', fate: { kind: 'half' } },
];
const breaks = (['reset', 'end', 'stall', 'error-event'] as const).map((how) => ({
  row: `stream breaks: ${how}`,
  fate: { kind: 'break', frameCount: 5, byteCount: 20, how } as Fate,
}));

describe.each([{ engine: 'ours', ours: true }])(
  'a fault under 64 clients, instances $engine',
  ({ engine, ours }) => {
    let group: Group;

    beforeAll(async () => {
      const processes = new Processes();
      const first = await freePorts(5);
      const portOf = (name: Name) => first + 1 + names.indexOf(name);
      group = { processes, url: `http://127.0.0.1:${first}`, portOf, running: new Map(), ours };
      await Promise.all(names.map((name) => startInstance(group, name)));
      const address = (name: Name) => `127.0.0.1:${portOf(name)}`;
      const proxy = processes.start([
        ...['proxy', '--model', 'tsukimi-demo', '--host', '127.0.0.1', '--port', String(first)],
        ...['--prefill', address('prefill-0'), address('prefill-1')],
        ...['--decode', address('decode-0'), address('decode-1')],
        ...['--scheduling', 'round_robin', '--first-byte-ms', '1500', '--gap-ms', '700'],
      ]);
      await untilReady(`${group.url}/ready`, proxy);
      await untilUp(group, 4);
    });

    afterAll(async () => {
      await group.processes[Symbol.asyncDispose]();
      process.stdout.write(
        rows
          .splice(0)
          .map(
            (one) =>
              `${engine} | ${one.row} | ${one.requests} | ${one.failed} | ${one.longestMs}\n`,
          )
          .join(''),
      );
    });

    it.each(['prefill-0', 'decode-0'] as const)('kill -9 of %s fails nobody', async (name) => {
      const all = await load(group.url, () => kill(group, name));
      await startInstance(group, name);
      await untilUp(group, 4);
      expect(note(`kill -9 of ${name}`, all)).toEqual([]);
    });

    it.each([
      ...fates.map((one) => ({ ...one, name: 'prefill-0' as const })),
      ...[...fates, ...breaks].map((one) => ({ ...one, name: 'decode-0' as const })),
    ])('$name $row, and nobody fails', async ({ row, fate, name }) => {
      await setFate(group, name, fate);
      const all = await load(group.url, nothing);
      expect(await setFate(group, name, { kind: 'serve' })).toBeGreaterThan(0);
      await restart(group, name);
      expect(note(`${name} ${row}`, all)).toEqual([]);
    });

    it('decode comes back as an engine of another model on its port, and nobody fails', async () => {
      const all = await load(group.url, async () => {
        await kill(group, 'decode-0');
        await startInstance(group, 'decode-0', { model: 'another', fingerprint: 'beef' });
      });
      await kill(group, 'decode-0');
      await startInstance(group, 'decode-0');
      await untilUp(group, 4);
      expect(note('decode-0 restarts with another model', all)).toEqual([]);
    });

    it.each(['prefill', 'decode'] as const)(
      'all %s gone: an answer or 503 in time',
      async (kind) => {
        const gone: readonly Name[] = [`${kind}-0`, `${kind}-1`];
        const all = await load(group.url, async () => {
          for (const name of gone) await kill(group, name);
        });
        for (const name of gone) await startInstance(group, name);
        await untilUp(group, 4);
        note(`all ${kind} gone`, all);
        expect(all.filter(({ flaw, status }) => flaw !== null && status === 0)).toEqual([]);
        expect((await ask(group.url, 'after', true)).flaw).toBeNull();
      },
    );
  },
);
