import { loadOptions } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { proxyOptions } from '../src/index.ts';
import { ScriptedInstance, scriptedText } from '../src/testing.ts';
import { type Cluster, readStream, startCluster } from './cluster.ts';

/**
 * What a script that was written for vLLM's `disagg_proxy_demo.py` relies on, case by case, with what the
 * original answers; and where it hides or breaks something, what is right instead.
 */
const key = 'secret';
const env = { ADMIN_API_KEY: key };
const asked = { model: 'tsukimi-demo', prompt: 'Once', max_tokens: 4 };
const text = scriptedText('"Once"', 4);

async function add(
  cluster: Cluster,
  body: unknown,
  headers: Record<string, string> = { 'x-api-key': key },
) {
  const response = await fetch(`${cluster.url}/instances/add`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

describe('the command line of the demo', () => {
  const parsed = (argv: readonly string[]) => loadOptions(proxyOptions, { argv, env: {} });

  it.each([
    [['--model', 'm', '--prefill', 'localhost:8100', '--decode', '127.0.0.1:8200']],
    [['-m', 'm', '-p', 'localhost:8100', '-d', '127.0.0.1:8200', '--port', '8000']],
  ])('is understood: %s', (argv) => {
    expect(parsed(argv)).toMatchObject({
      ...{ model: 'm', port: 8_000, prefill: [{ host: 'localhost', port: 8_100 }] },
      decode: [{ host: '127.0.0.1', port: 8_200 }],
    });
  });

  it('takes several instances behind one flag, and the policy that its documentation promises', () => {
    const argv = ['--model', 'm', '--prefill', 'a:1', 'b:2', '--decode', 'c:3', 'd:4', 'e:5'];
    const options = parsed([...argv, '--scheduling', 'round_robin']);
    expect([options.prefill.length, options.decode.length]).toEqual([2, 3]);
    expect(options.scheduling).toBe('round_robin');
  });

  it.each([
    [['--prefill', 'a:1', '--decode', 'b:2'], /model/],
    [['--model', 'm', '--prefill', 'a:1:2'], /--prefill.*a:1:2/],
    [['--model', 'm', '--decode', 'a:70000'], /--decode.*a:70000/],
    [['--model', 'm', '--decode', 'a'], /--decode.*"a"/],
  ])('is refused with the name of the flag: %s', (argv, message) => {
    expect(() => parsed(argv)).toThrow(message);
  });

  it.each([
    ['a host name', 'gpu-1.example.org:8100'],
    ['IPv6', '[::1]:8100'],
    ['a URL', 'http://gpu-1:8100'],
    ['a range', 'gpu-1@8100-8101'],
  ])('takes %s, which the demo refuses', (_, endpoint) => {
    expect(parsed(['--model', 'm', '--prefill', endpoint]).prefill[0]).toMatchObject({
      port: 8_100,
    });
  });

  it('starts with empty pools and listens for all hosts, where the demo gives up or is alone', () => {
    const options = parsed(['--model', 'm']);
    expect([options.prefill, options.decode, options.host]).toEqual([[], [], '0.0.0.0']);
  });
});

describe('POST /instances/add', () => {
  it.each([
    [{}, 422, { detail: [{ type: 'missing', loc: ['header', 'x-api-key'] }] }],
    [{ 'x-api-key': 'wrong' }, 403, { detail: 'Forbidden: Invalid API Key.' }],
  ])('asks for the key: %j', async (headers, status, body) => {
    await using cluster = await startCluster({ env });
    const given = { type: 'prefill', instance: '127.0.0.1:1' };
    expect(await add(cluster, given, headers)).toMatchObject({ status, body });
  });

  it('says so when it was given no key to compare with', async () => {
    await using cluster = await startCluster();
    expect(await add(cluster, {})).toEqual({
      status: 500,
      body: { detail: 'Server configuration error.' },
    });
  });

  it.each([
    ['{', 500, /./],
    [{ type: 'both', instance: 'a:1' }, 400, /^Invalid instance type\.$/],
    [{ instance: 'a:1' }, 400, /^Invalid instance type\.$/],
    [{ type: 'prefill' }, 400, /^Invalid instance format\.$/],
    [{ type: 'prefill', instance: '' }, 400, /^Invalid instance format\.$/],
    [{ type: 'decode', instance: 'localhost' }, 400, /^Invalid instance format\.$/],
    [{ type: 'decode', instance: 'a:1:2' }, 500, /^too many values to unpack \(expected 2\)$/],
    [{ type: 'decode', instance: 'localhost:x' }, 400, /^Invalid instance address\.$/],
    [{ type: 'decode', instance: 'localhost:70000' }, 400, /^Invalid instance address\.$/],
    [{ type: 'decode', instance: 'a b:1' }, 400, /^Invalid instance address\.$/],
    [{ type: 'decode', instance: 'x@999.1.1.1:1' }, 400, /^Invalid instance address\.$/],
    [{ type: 'decode', instance: '999.1.1.1:1' }, 400, /^Invalid instance address\.$/],
    [null, 400, /^Invalid instance type\.$/],
    [{ type: 'decode', instance: '127.0.0.1:1' }, 400, /^Instance validation failed\.$/],
  ])('refuses %j in the words of the demo', async (body, status, detail) => {
    await using cluster = await startCluster({ env });
    const answer = await add(cluster, body);
    expect(answer.status).toBe(status);
    expect(answer.body['detail']).toMatch(detail);
  });

  it('refuses another model, and tells why beside the words of the demo', async () => {
    await using cluster = await startCluster({ env });
    const other = await new ScriptedInstance({ model: 'other' }).start();
    const answer = await add(cluster, { type: 'decode', instance: other.address });
    expect(answer).toMatchObject({ status: 400, body: { detail: 'Instance validation failed.' } });
    expect(answer.body['reason']).toMatch(/"other".*"tsukimi-demo"/);
    await other.kill();
  });

  it('adds at the end of the list, once, and sends requests there', async () => {
    await using cluster = await startCluster({ env, argv: ['--scheduling', 'round_robin'] });
    const more = await new ScriptedInstance().start();
    const given = { type: 'decode', instance: more.address };
    const message = `Added ${more.address} to decode_instances.`;
    expect(await add(cluster, given)).toEqual({ status: 200, body: { message } });
    expect(await add(cluster, given)).toEqual({
      status: 400,
      body: { detail: 'Instance already exists.' },
    });
    const status = (await (await fetch(`${cluster.url}/status`)).json()) as object;
    expect(status).toMatchObject({
      ...{ prefill_node_count: 1, decode_node_count: 2 },
      prefill_nodes: [cluster.prefill[0]?.address],
      decode_nodes: [cluster.decode[0]?.address, more.address],
    });
    for (let turn = 0; turn < 4; turn += 1) await (await cluster.post(asked)).text();
    expect(more.requests).toHaveLength(2);
    await more.kill();
  });

  it('lets the same address be in both lists', async () => {
    await using cluster = await startCluster({ env });
    const address = cluster.prefill[0]?.address;
    expect((await add(cluster, { type: 'decode', instance: address })).status).toBe(200);
  });
});

describe('a completion', () => {
  it.each(['application/json', 'application/json; charset=utf-8', 'Application/JSON'])(
    'may be sent as %s',
    async (type) => {
      await using cluster = await startCluster();
      const answer = await cluster.post(asked, { headers: { 'content-type': type } });
      expect(answer.status).toBe(200);
    },
  );

  it('sent as anything else gets 415', async () => {
    await using cluster = await startCluster();
    const answer = await cluster.post(asked, { headers: { 'content-type': 'text/plain' } });
    expect(answer.status).toBe(415);
  });

  it('goes to prefill with one token, then to decode as it came', async () => {
    await using cluster = await startCluster({
      prefill: [{ ours: false }],
      decode: [{ ours: false }],
      argv: ['--pd-protocol', 'store'],
    });
    const path = '/v1/chat/completions';
    const body = {
      messages: [{ role: 'user', content: 'Hi' }],
      max_completion_tokens: 3,
      top_k: 4,
    };
    expect((await cluster.post(body, { path })).status).toBe(200);
    expect(cluster.sent('prefill')[0]?.body).toEqual({
      ...{ ...body, max_tokens: 1, max_completion_tokens: 1, stream: false },
    });
    expect(cluster.sent('decode')[0]?.body).toEqual(body);
  });

  it('carries the key of OPENAI_API_KEY, unless the client has one', async () => {
    await using cluster = await startCluster({ env: { OPENAI_API_KEY: 'k' } });
    await (await cluster.post(asked)).text();
    await (await cluster.post(asked, { headers: { authorization: 'Bearer mine' } })).text();
    expect(cluster.sent('decode').map(({ headers }) => headers['authorization'])).toEqual([
      'Bearer k',
      'Bearer mine',
    ]);
  });

  it('carries no made-up key where there is none', async () => {
    await using cluster = await startCluster();
    await (await cluster.post(asked)).text();
    expect(cluster.sent('prefill')[0]?.headers['authorization']).toBeUndefined();
  });

  it('streams as text/event-stream, which the demo forgets to say', async () => {
    await using cluster = await startCluster();
    const answer = await cluster.post({ ...asked, stream: true });
    expect(answer.headers.get('content-type')).toMatch(/^text\/event-stream/);
    expect(await readStream(answer)).toMatchObject({ text, done: true });
  });

  it.each(['prefill', 'decode'] as const)(
    'that a %s instance refuses has its status, where the demo says 200 or goes on',
    async (kind) => {
      const fate = () => ({ kind: 'status', status: 422 }) as const;
      await using cluster = await startCluster({ [kind]: [{ fate }] });
      const answer = await cluster.post(asked);
      expect(answer.status).toBe(422);
      expect(await answer.json()).toMatchObject({ error: { message: 'scripted 422' } });
    },
  );

  it('that nobody can serve has 503, where the demo says 200 with null or a traceback', async () => {
    await using cluster = await startCluster({ prefill: [], decode: [] });
    for (const path of ['/v1/completions', '/v1/chat/completions']) {
      const answer = await cluster.post(asked, { path });
      expect(answer.status).toBe(503);
      expect(await answer.json()).toMatchObject({ error: { type: 'service_unavailable_error' } });
    }
  });
});
