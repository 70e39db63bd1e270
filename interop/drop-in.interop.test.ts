/**
 * The original `disagg_proxy_demo.py` and ours in front of the same scripted instances, asked the same: all
 * that the demo answers is in our answer too, except for what `docs/drop-in.md` lists. A difference that it does not
 * list fails, and so does one that has vanished.
 */
import { readFileSync } from 'node:fs';
import { type Fate, ScriptedInstance, scriptedText } from '@tsukimi/proxy/testing';
import { describe, expect, it } from 'vitest';
import { model, Stage, type StageOptions, type Who } from './drop-in-stage.ts';

const env = { ADMIN_API_KEY: 'secret' };
const withKey = { 'x-api-key': 'secret' };
const completion = { model, prompt: 'Once', max_tokens: 4 };
const chat = { model, messages: [{ role: 'user', content: 'Hi' }], max_completion_tokens: 3 };
const text = scriptedText('"Once"', 4);

interface Case extends StageOptions {
  readonly name: string;
  /** What is compared. */
  ask(stage: Stage): Promise<unknown>;
}

interface Deviation extends Case {
  /** The row of `docs/drop-in.md`: what stands under "the demo". */
  readonly row: string;
  readonly demo: unknown;
  readonly ours: unknown;
}

async function answersOf(one: Case): Promise<Record<Who, unknown>> {
  const seen = async (who: Who) => {
    await using stage = await Stage.start(who, one);
    return await one.ask(stage);
  };
  const [demo, ours] = await Promise.all([seen('demo'), seen('ours')]);
  return { demo, ours };
}

const always = (fate: Fate) => ({ fate: () => fate });
const sent = (instance: ScriptedInstance) =>
  instance.requests.map(({ path, body }) => ({ path, body }));
const add = (stage: Stage, body: unknown, headers: Readonly<Record<string, string>> = withKey) =>
  stage.post('/instances/add', body, headers);

/** One after the other, so that all of them need one start. */
async function inTurn<T>(all: readonly T[], ask: (one: T) => Promise<unknown>): Promise<unknown[]> {
  const seen: unknown[] = [];
  for (const one of all) seen.push(await ask(one));
  return seen;
}

const same: readonly Case[] = [
  { name: 'GET /status', ask: (stage) => stage.get('/status') },
  {
    name: 'a completion and a chat, and what instances are sent for them',
    async ask(stage) {
      const seen = [
        await stage.post('/v1/completions', completion),
        await stage.post('/v1/chat/completions', { ...chat, top_k: 4 }),
      ];
      const answers = seen.map(({ status, body }) => ({ status, body }));
      return [
        answers,
        sent(stage.decode),
        sent(stage.prefill).map(({ path, body }) => [
          path,
          body['max_tokens'],
          body['max_completion_tokens'],
          body['top_k'],
        ]),
      ];
    },
  },
  {
    name: 'the key of OPENAI_API_KEY for instances',
    env: { OPENAI_API_KEY: 'k' },
    async ask(stage) {
      await stage.post('/v1/completions', completion);
      return [stage.prefill, stage.decode].map(({ requests }) =>
        requests.map(({ headers }) => headers['authorization']),
      );
    },
  },
  {
    name: 'a completion that is no JSON by its type',
    ask: (stage) =>
      inTurn(
        ['text/plain', 'application/x-www-form-urlencoded', ''],
        async (type) =>
          (await stage.post('/v1/completions', completion, { 'content-type': type })).status,
      ),
  },
  {
    name: 'paths and methods that it does not know',
    ask: (stage) =>
      inTurn(
        ['/', '/nothing', '/instances/add', '/v1/completions'],
        async (path) => (await stage.get(path)).status,
      ),
  },
  {
    name: 'adding without the key that it was not given either',
    ask: (stage) => add(stage, {}),
  },
  {
    name: 'adding without a key, and with a wrong one',
    env,
    ask: (stage) => inTurn([{}, { 'x-api-key': 'wrong' }], (headers) => add(stage, {}, headers)),
  },
  {
    name: 'adding what is wrong',
    env,
    ask: (stage) =>
      inTurn(
        [
          { type: 'both', instance: 'a:1' },
          { instance: 'a:1' },
          { type: 'prefill' },
          { type: 'prefill', instance: '' },
          { type: 'decode', instance: 'localhost' },
          { type: 'decode', instance: 'a:1:2' },
          { type: 'decode', instance: 'localhost:x' },
          { type: 'decode', instance: 'localhost:70000' },
          { type: 'decode', instance: 'a b:1' },
          { type: 'decode', instance: '999.1.1.1:1' },
          { type: 'decode', instance: '127.0.0.1:1' },
        ],
        (body) => add(stage, body),
      ),
  },
  { name: 'adding with half a body', env, ask: async (stage) => (await add(stage, '{')).status },
  {
    name: 'adding: one of another model, a new one, the same again, and one of the other list',
    env,
    async ask(stage) {
      const more = await new ScriptedInstance({ model, ours: false }).start();
      const other = await new ScriptedInstance({ model: 'other', ours: false }).start();
      stage.name(more, '<more>');
      const [{ address }, prefill] = [more, stage.prefill.address];
      const seen = [
        ...(await inTurn([other.address, address, address, prefill], (instance) =>
          add(stage, { type: 'decode', instance }),
        )),
        await stage.get('/status'),
      ];
      await Promise.all([more.kill(), other.kill()]);
      return seen;
    },
  },
];

const deviations: readonly Deviation[] = [
  {
    row: 'documents `--scheduling`, has none',
    name: '--scheduling round_robin',
    argv: ['--scheduling', 'round_robin'],
    ask: async (stage) => stage.exitCode,
    demo: 2,
    ours: null,
  },
  {
    row: 'listens on 127.0.0.1 only',
    name: 'where it listens',
    ask: async (stage) => listenAddress(stage.port),
    demo: '127.0.0.1',
    ours: '0.0.0.0',
  },
  {
    row: 'refuses host names and IPv6',
    name: 'a host name',
    addresses: { prefill: 'prefill.invalid:8100', decode: 'decode.invalid:8200' },
    ask: async (stage) => stage.exitCode,
    demo: 1,
    ours: null,
  },
  {
    row: 'refuses host names and IPv6',
    name: 'IPv6',
    addresses: { prefill: '[::1]:1', decode: '[::1]:2' },
    ask: async (stage) => stage.exitCode,
    demo: 1,
    ours: null,
  },
  {
    row: 'ends with a traceback while an instance is not up',
    name: 'instances that are not up yet',
    addresses: { prefill: '127.0.0.1:1', decode: '127.0.0.1:2' },
    ask: async (stage) => stage.exitCode,
    demo: 1,
    ours: null,
  },
  {
    row: 'compares the last part of the first model id, or on adding the whole of it',
    name: 'a model of which only the last part is the same',
    prefill: { model: 'somebody-else/tsukimi-demo' },
    async ask(stage) {
      await stage.post('/v1/completions', completion);
      return stage.prefill.requests.length;
    },
    demo: 1,
    ours: 0,
  },
  {
    row: '415 for `application/json; charset=utf-8`',
    name: 'a charset',
    ask: async (stage) =>
      (
        await stage.post('/v1/completions', completion, {
          'content-type': 'application/json; charset=utf-8',
        })
      ).status,
    demo: 415,
    ours: 200,
  },
  {
    row: 'a failure is `200` with `null`, a traceback, or a cut stream',
    name: 'a body that is no JSON',
    ask: (stage) => stage.post('/v1/completions', '{'),
    demo: { status: 200, body: null },
    ours: { status: 400, body: { error: { type: 'invalid_request_error' } } },
  },
  {
    row: 'a failure is `200` with `null`, a traceback, or a cut stream',
    name: 'a prefill instance that fails',
    prefill: always({ kind: 'status', status: 500 }),
    ask: (stage) => stage.post('/v1/completions', completion),
    demo: { status: 200, body: null },
    ours: { status: 200, body: { choices: [{ text }] } },
  },
  {
    row: 'a failure is `200` with `null`, a traceback, or a cut stream',
    name: 'a decode instance that fails',
    decode: always({ kind: 'status', status: 500 }),
    prefill: always({ kind: 'status', status: 500 }),
    ask: (stage) => stage.post('/v1/chat/completions', chat),
    demo: { status: 200, type: 'text/event-stream' },
    ours: { status: 500, body: { error: { message: 'scripted 500' } } },
  },
  {
    row: 'a 4xx of prefill is ignored, one of decode becomes 200',
    name: 'a prefill instance that refuses',
    prefill: always({ kind: 'status', status: 422 }),
    ask: (stage) => stage.post('/v1/completions', completion),
    demo: { status: 200, body: { choices: [{ text }] } },
    ours: { status: 422, body: { error: { message: 'scripted 422' } } },
  },
  {
    row: 'a 4xx of prefill is ignored, one of decode becomes 200',
    name: 'a decode instance that refuses',
    decode: always({ kind: 'status', status: 422 }),
    ask: (stage) => stage.post('/v1/completions', completion),
    demo: { status: 200, body: { error: { message: 'scripted 422' } } },
    ours: { status: 422, body: { error: { message: 'scripted 422' } } },
  },
  {
    row: 'answers without a content type, streams too',
    name: 'a completion',
    ask: async (stage) => (await stage.post('/v1/completions', completion)).type,
    demo: null,
    ours: 'application/json',
  },
  {
    row: 'answers without a content type, streams too',
    name: 'a stream',
    ask: async (stage) => {
      const { status, type, body } = await stage.post('/v1/completions', {
        ...completion,
        stream: true,
      });
      return { status, type, text: textOf(String(body)) };
    },
    demo: { status: 200, type: null, text },
    ours: { status: 200, type: 'text/event-stream', text },
  },
  {
    row: 'a failed prefill instance is removed for good',
    name: 'a prefill instance that has failed once',
    prefill: { fate: failsOnce() },
    async ask(stage) {
      await stage.post('/v1/completions', completion);
      const { body } = await stage.get('/status');
      return (body as { prefill_nodes: string[] }).prefill_nodes;
    },
    demo: [],
    ours: ['<prefill>'],
  },
  {
    row: 'sends `Bearer None` without a key',
    name: 'no key for instances',
    async ask(stage) {
      await stage.post('/v1/completions', completion);
      return stage.decode.requests.map(({ headers }) => headers['authorization'] ?? null);
    },
    demo: ['Bearer None'],
    ours: [null],
  },
  {
    row: 'sends `Bearer None` without a key',
    name: "a client's own key",
    env: { OPENAI_API_KEY: 'k' },
    async ask(stage) {
      await stage.post('/v1/completions', completion, { authorization: 'Bearer mine' });
      return stage.decode.requests.map(({ headers }) => headers['authorization'] ?? null);
    },
    demo: ['Bearer k'],
    ours: ['Bearer mine'],
  },
  {
    row: 'prefill streams, keeps `min_tokens` and `n`',
    name: 'what prefill is asked',
    async ask(stage) {
      await stage.post('/v1/completions', { ...completion, stream: true, min_tokens: 3, n: 2 });
      return sent(stage.prefill).map(({ body: { stream, min_tokens, n } }) => ({
        stream,
        min_tokens,
        n,
      }));
    },
    demo: [{ stream: true, min_tokens: 3, n: 2 }],
    ours: [{ stream: false }],
  },
];

function failsOnce(): () => Fate {
  let count = 0;
  return () => (count++ < 2 ? { kind: 'status', status: 500 } : { kind: 'serve' });
}

function textOf(stream: string): string {
  const events = stream.split('\n\n').filter((event) => event.startsWith('data: {'));
  return events
    .map(
      (event) =>
        (JSON.parse(event.slice('data: '.length)) as { choices: { text: string }[] }).choices[0]
          ?.text,
    )
    .join('');
}

/** As the kernel has it. */
function listenAddress(port: number): string | null {
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of lines) {
    const [, local = '', , state] = line.trim().split(/\s+/);
    if (state !== '0A' || !local.endsWith(suffix)) continue;
    return [...Buffer.from(local.slice(0, 8), 'hex')].reverse().join('.');
  }
  return null;
}

describe('the demo and ours', () => {
  it.each(same)('answer alike: $name', async (one) => {
    const { demo, ours } = await answersOf(one);
    expect(ours).toMatchObject(demo as object);
  });

  it.each(deviations)('differ: $row: $name', async (one) => {
    const { demo, ours } = await answersOf(one);
    expect({ demo, ours }).toMatchObject({ demo: one.demo, ours: one.ours });
  });

  it('differ in nothing that docs/drop-in.md does not list, and in all that it does', () => {
    const page = readFileSync(new URL('../docs/drop-in.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| (.+?) +\| .+\|$/gm)].map(([, demo]) => demo);
    const listed = rows.filter((row) => row !== 'the demo' && !row?.startsWith('---'));
    expect(new Set(deviations.map(({ row }) => row))).toEqual(new Set(listed));
  });
});
