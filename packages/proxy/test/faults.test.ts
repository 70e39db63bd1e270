import { eventually, FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import {
  type Fate,
  type ScriptedInstanceOptions,
  type ScriptedRequest,
  scriptedText,
} from '../src/testing.ts';
import { type Cluster, readStream, startCluster } from './cluster.ts';

const prompt = 'Tell me a "story"';
const tokenCount = 5;
const text = scriptedText(JSON.stringify(prompt), tokenCount);
const asked = { model: 'tsukimi-demo', prompt, max_tokens: tokenCount };
const messages = [{ role: 'user', content: 'Hi' }];
const chatText = scriptedText(JSON.stringify(messages), tokenCount);

const always = (fate: Fate): ScriptedInstanceOptions => ({ fate: () => fate });
const broken = (fates: readonly Fate[]): ScriptedInstanceOptions => {
  let count = 0;
  return { fate: () => fates[count++] ?? { kind: 'serve' } };
};

async function answerText(response: Response): Promise<string | undefined> {
  expect(response.status).toBe(200);
  const answer = (await response.json()) as { choices: { text: string }[] };
  return answer.choices[0]?.text;
}

describe('a request whose instances fail', () => {
  const fates: Fate[] = [
    { kind: 'status', status: 500 },
    { kind: 'status', status: 503 },
    { kind: 'garbage' },
    { kind: 'half' },
  ];

  it.each(fates)('is answered by another decode instance after $kind', async (fate) => {
    await using cluster = await startCluster({ decode: [always(fate), {}] });
    for (let count = 0; count < 4; count += 1) {
      expect(await answerText(await cluster.post(asked))).toBe(text);
    }
    const streamed = await readStream(await cluster.post({ ...asked, stream: true }));
    expect(streamed).toMatchObject({ text, done: true, error: null });
  });

  const inside: Fate[] = [
    { kind: 'body', text: '<html>Bad Gateway</html>' },
    { kind: 'body', text: '' },
    { kind: 'body', text: '{"error":{"message":"no memory","code":500}}' },
    { kind: 'body', text: '{"error": "no memory"}' },
    { kind: 'body', text: '{"object":"error","message":"no memory","code":503}' },
    { kind: 'body', text: '{"choices":[{"text":"","finish_reason": "abort"}]}' },
    { kind: 'body', text: '{"meta_info":{"finish_reason":{"type":"abort"}}}' },
    { kind: 'half', how: 'end' },
  ];

  it.each(inside)('gets no answer of status 200 that is none: $text', async (fate) => {
    await using cluster = await startCluster({
      prefill: [always(fate), {}],
      decode: [always(fate), {}],
    });
    for (let count = 0; count < 4; count += 1) {
      expect(await answerText(await cluster.post(asked))).toBe(text);
    }
  });

  it.each([
    { text: '{"detail":"Not Found"}', count: 1 },
    { text: '{"error":{"message":"no such model","param":"model"}}', count: 2 },
  ])('is taken elsewhere for its model and not for its path: $text', async ({ text, count }) => {
    const fail = always({ kind: 'body', text, status: 404 });
    await using cluster = await startCluster({ prefill: [], decode: [fail, fail] });
    const response = await cluster.post(asked);
    expect([response.status, await response.text()]).toEqual([404, text]);
    expect(cluster.sent('decode')).toHaveLength(count);
  });

  const refusals = [
    'data: {"error":{"message":"too long","code":400}}\n\n',
    'data: {"object":"error","message":"too long","type":"BadRequestError","code":400}\n\n',
  ];

  it.each(refusals)('is refused with the status that its stream begins with: %s', async (event) => {
    const refuse = always({ kind: 'break', how: 'error-event', frameCount: 0, event });
    await using cluster = await startCluster({ decode: [refuse, refuse] });
    for (let count = 0; count < 5; count += 1) {
      const response = await cluster.post({ ...asked, stream: true });
      expect(response.status).toBe(400);
      expect(response.headers.get('content-type')).toBe('application/json');
      expect(`data: ${await response.text()}\n\n`).toBe(event);
    }
    expect(cluster.sent('decode')).toHaveLength(5);
    expect(cluster.proxy.pool.instances.map(({ failureCount }) => failureCount)).toEqual([0, 0, 0]);
  });

  it('blames who breaks a stream by an error that only its client can be told of', async () => {
    const fail = { ...always({ kind: 'break', how: 'error-event', frameCount: 2 }), ours: false };
    const decode = [{ ...fail, tellsTokenIds: false }] as const;
    await using cluster = await startCluster({ prefill: [], decode });
    const [instance] = cluster.decode;
    let goOn = () => {};
    if (instance !== undefined) {
      instance.hold = new Promise((resolve) => {
        goOn = resolve;
      });
    }
    // Its head comes with the first event.
    const response = await cluster.post({ ...asked, stream: true });
    goOn();
    const seen = await readStream(response);
    expect(seen.error).toMatchObject({ message: 'scripted' });
    expect(cluster.sent('decode')).toHaveLength(1);
    expect(cluster.proxy.pool.instances.map(({ failureCount }) => failureCount)).toEqual([1]);
  });

  it('is told what ends its stream, where it is the request that is wrong', async () => {
    const event = 'data: {"error":{"message":"too long","code":400}}\n\n';
    const fail = always({ kind: 'break', how: 'error-event', frameCount: 2, event });
    await using cluster = await startCluster({ prefill: [], decode: [fail, fail] });
    for (let count = 0; count < 5; count += 1) {
      let goOn = () => {};
      const hold = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      for (const one of cluster.decode) one.hold = hold;
      const response = await cluster.post({ ...asked, stream: true });
      goOn();
      const seen = await readStream(response);
      expect(seen.error).toMatchObject({ message: expect.stringMatching(/too long$/) });
      expect(seen.text).toBe(scriptedText(JSON.stringify(prompt), seen.events.length - 1));
    }
    expect(cluster.sent('decode')).toHaveLength(5);
    expect(cluster.proxy.pool.instances.map(({ failureCount }) => failureCount)).toEqual([0, 0]);
  });

  it.each([501, 505])('is refused with %i, which others of its make would do', async (status) => {
    const refuse = always({ kind: 'status', status });
    await using cluster = await startCluster({ prefill: [], decode: [refuse, refuse] });
    for (let count = 0; count < 5; count += 1) {
      expect((await cluster.post(asked)).status).toBe(status);
    }
    expect(cluster.sent('decode')).toHaveLength(5);
    expect(cluster.proxy.pool.instances.map(({ failureCount }) => failureCount)).toEqual([0, 0]);
  });

  it('is taken to another engine by what one cannot do', async () => {
    const refuse = always({ kind: 'status', status: 501 });
    const others = [
      { ...refuse, ours: false },
      { ...refuse, ours: false },
    ];
    const sglang = { ours: false, ownedBy: 'sglang' };
    await using cluster = await startCluster({ prefill: [], decode: [...others, sglang] });
    for (let count = 0; count < 4; count += 1) {
      expect((await cluster.post({ ...asked, prompt: `${count}` })).status).toBe(200);
    }
  });

  it('is told that its answer is too large, which nobody is blamed for', async () => {
    const text = ' '.repeat(65 * 2 ** 20);
    await using cluster = await startCluster({
      decode: [always({ kind: 'body', text }), always({ kind: 'body', text })],
    });
    const response = await cluster.post(asked);
    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({ error: { message: /more than 67108864 bytes/ } });
    expect(cluster.sent('decode')).toHaveLength(1);
    expect(cluster.proxy.pool.instances.map(({ failureCount }) => failureCount)).toEqual([0, 0, 0]);
  });

  const nothingWrong = [
    '{"choices":[{"text":"a"}],"error":false}',
    '{"choices":[{"text":"a"}],"error":""}',
    '{"choices":[{"text":"a"}],"error":{}}',
  ];

  it.each(nothingWrong)('is answered by what names no error in fact: %s', async (text) => {
    await using cluster = await startCluster({ decode: [always({ kind: 'body', text })] });
    const response = await cluster.post(asked);
    expect([response.status, await response.text()]).toEqual([200, text]);
  });

  it('gets the status that an error inside a 200 tells, when nobody does better', async () => {
    const fail = always({ kind: 'body', text: '{"object":"error","message":"no","code":422}' });
    await using cluster = await startCluster({ decode: [fail, {}] });
    const response = await cluster.post(asked);
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ message: 'no' });
  });

  it.each([401, 403, 404, 408, 429])(
    'is served by others where one refuses it with %i, which nobody is blamed for',
    async (status) => {
      const refuse = always({ kind: 'status', status });
      await using cluster = await startCluster({
        prefill: [refuse, {}],
        decode: [refuse, {}],
        env: { OPENAI_API_KEY: 'proxy-key' },
      });
      for (let count = 0; count < 6; count += 1) {
        expect(await answerText(await cluster.post(asked))).toBe(text);
      }
      const breakers = cluster.proxy.pool.instances.map((one) => one.breakers[one.kind].closed);
      expect(breakers).toEqual([true, true, true, true]);
    },
  );

  it.each([
    { status: 429, headers: {}, body: asked, count: 2 },
    { status: 401, headers: { authorization: 'Bearer mine' }, body: asked, count: 1 },
    { status: 404, headers: {}, body: { ...asked, model: 'unheard of' }, count: 1 },
  ])(
    'passes $status on once nobody else is left to ask',
    async ({ status, headers, body, count }) => {
      const refuse = always({ kind: 'status', status });
      await using cluster = await startCluster({ prefill: [], decode: [refuse, refuse] });
      const response = await cluster.post(body, { headers });
      expect(response.status).toBe(status);
      expect(await response.json()).toMatchObject({ error: { message: `scripted ${status}` } });
      expect(cluster.sent('decode')).toHaveLength(count);
    },
  );

  it.each(fates)('is prefilled by another prefill instance after $kind', async (fate) => {
    await using cluster = await startCluster({ prefill: [always(fate), {}] });
    for (let count = 0; count < 3; count += 1) {
      expect(await answerText(await cluster.post(asked))).toBe(text);
    }
    expect(cluster.prefill[1]?.requests).toHaveLength(3);
  });

  it('goes on without a prefill instance when all of them fail', async () => {
    await using cluster = await startCluster({
      prefill: [always({ kind: 'status', status: 500 }), always({ kind: 'garbage' })],
    });
    expect(await answerText(await cluster.post(asked))).toBe(text);
    const metrics = await (await fetch(`${cluster.url}/metrics`)).text();
    expect(metrics).toContain('prefill_skipped_total{reason="prefill_failed"} 1');
  });

  it('gets the last answer of an instance when all answer that they failed', async () => {
    const fail = always({ kind: 'status', status: 500 });
    await using cluster = await startCluster({ prefill: [fail], decode: [fail] });
    const response = await cluster.post(asked);
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: { message: 'scripted 500' } });
  });

  it.each(['prefill', 'decode'] as const)(
    'is told at once what a %s instance finds wrong with it, and nobody is blamed',
    async (kind) => {
      await using cluster = await startCluster({
        [kind]: [always({ kind: 'status', status: 400 })],
      });
      const response = await cluster.post({ ...asked, stream: true });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { message: 'scripted 400' } });
      expect(cluster.sent(kind)).toHaveLength(1);
      expect(cluster.proxy.pool.instances.map((one) => one.failureCount)).toEqual([0, 0]);
    },
  );

  it('is served by one kind alone when the other is gone, else refused with Retry-After', async () => {
    await using cluster = await startCluster();
    await cluster.decode[0]?.kill();
    expect(await answerText(await cluster.post(asked))).toBe(text);
    await cluster.prefill[0]?.kill();
    const refused = await cluster.post(asked);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await refused.json()).toMatchObject({ error: { type: 'service_unavailable_error' } });
    expect((await fetch(`${cluster.url}/ready`)).status).toBe(503);
    await cluster.decode[0]?.start();
    await eventually(async () => (await cluster.post(asked)).status === 200, 'the revived one');
  });

  it('survives that kept connections were closed while idle', async () => {
    await using cluster = await startCluster();
    for (let count = 0; count < 5; count += 1) {
      expect(await answerText(await cluster.post(asked))).toBe(text);
      for (const one of [...cluster.prefill, ...cluster.decode]) one.cutConnections();
    }
    expect(cluster.proxy.pool.instances.map(({ state }) => state.name)).toEqual(['up', 'up']);
  });
});

describe('a prompt that leaves little to compute', () => {
  it('is computed by decode itself, when it is short or was seen there', async () => {
    const argv = ['--skip-prefill-below-tokens', '100'];
    await using cluster = await startCluster({ argv });
    await (await cluster.post(asked)).text();
    expect([cluster.sent('prefill').length, cluster.sent('decode').length]).toEqual([0, 1]);
    const long = { ...asked, prompt: 'a long story '.repeat(500) };
    await (await cluster.post(long)).text();
    await (await cluster.post(long)).text();
    expect([cluster.sent('prefill').length, cluster.sent('decode').length]).toEqual([1, 3]);
    const metrics = await (await fetch(`${cluster.url}/metrics`)).text();
    expect(metrics).toContain('prefill_skipped_total{reason="little_to_compute"} 2');
  });
});

describe('a stream whose instance fails', () => {
  const hows = ['reset', 'end', 'error-event', 'abort-event'] as const;

  /** Breaks at each event, and within it, over fresh clusters of one breaking and one good instance. */
  async function eachBreak(
    options: ScriptedInstanceOptions,
    hows: readonly Extract<Fate, { kind: 'break' }>['how'][],
    check: (cluster: Cluster, fate: Fate) => Promise<void>,
  ): Promise<void> {
    const fates: Fate[] = [];
    for (const how of hows) {
      for (let frameCount = 0; frameCount <= tokenCount + 2; frameCount += 1) {
        for (const byteCount of how === 'reset' ? [0, 1, 40, 140] : [0]) {
          fates.push({ kind: 'break', how, frameCount, byteCount });
        }
      }
    }
    let next = 0;
    let breaking = true;
    await using cluster = await startCluster({
      prefill: [options],
      decode: [options, options].map((one) => ({
        ...one,
        fate: () => {
          const fate = breaking ? fates[next] : undefined;
          breaking = false;
          return fate ?? { kind: 'serve' };
        },
      })),
    });
    for (; next < fates.length; next += 1) {
      breaking = true;
      await check(cluster, fates[next] as Fate);
    }
  }

  const engines = [
    ['ours', {}],
    ['one that tells token ids', { ours: false }],
  ] as const;

  it.each(engines)('of %s goes on elsewhere wherever it breaks, unseen', async (_, options) => {
    await eachBreak(options, hows, async (cluster, fate) => {
      const body = { ...asked, stream: true, stream_options: { include_usage: true } };
      const seen = await readStream(await cluster.post(body));
      const shown = { ...seen, fate };
      expect(shown).toMatchObject({
        text,
        done: true,
        finishReasons: ['length'],
        error: null,
        fate,
      });
      expect([seen.ids.size, seen.created.size]).toEqual([1, 1]);
      expect(seen.events.at(-1)).toMatchObject({
        usage: { prompt_tokens: JSON.stringify(prompt).length, completion_tokens: tokenCount },
      });
      expect(seen.raw).not.toMatch(/[,{]"token_ids":\[\d/);
    });
  });

  it.each(engines)('of %s is no longer for it where no limit is named', async (_, options) => {
    await eachBreak(options, ['reset'], async (cluster, fate) => {
      const seen = await readStream(
        await cluster.post({ model: asked.model, prompt, stream: true }),
      );
      const all = scriptedText(JSON.stringify(prompt), 16);
      expect({ ...seen, fate }).toMatchObject({ text: all, done: true, error: null, fate });
    });
  });

  it.each(engines)('of %s repeats no role in a chat that goes on', async (_, options) => {
    await eachBreak(options, ['reset', 'end'], async (cluster, fate) => {
      const seen = await readStream(
        await cluster.post(
          { messages, max_tokens: tokenCount, stream: true },
          { path: '/v1/chat/completions' },
        ),
      );
      expect({ ...seen, fate }).toMatchObject({
        text: chatText,
        done: true,
        roles: 1,
        finishReasons: ['length'],
        error: null,
        fate,
      });
    });
  });

  it('survives one death after another, and then goes on at a prefill instance', async () => {
    const dies: Fate = { kind: 'break', how: 'reset', frameCount: 1 };
    await using cluster = await startCluster({
      decode: [always(dies), always(dies), always(dies)],
    });
    const seen = await readStream(await cluster.post({ ...asked, stream: true }));
    expect(seen).toMatchObject({ text, done: true, error: null });
    const metrics = await (await fetch(`${cluster.url}/metrics`)).text();
    expect(metrics).toMatch(/^tsukimi_proxy_resumed_streams_total [1-9]/m);
  });

  it('waits for its only instance to come back', async () => {
    await using cluster = await startCluster({
      prefill: [],
      decode: [broken([{ kind: 'break', how: 'stall', frameCount: 3 }])],
    });
    const response = await cluster.post({ ...asked, stream: true });
    await cluster.decode[0]?.kill();
    await cluster.decode[0]?.start();
    expect(await readStream(response)).toMatchObject({ text, done: true, error: null });
  });

  it.each([
    ['of several choices', { n: 2 }, {}],
    ['of several prompts', { prompt: [prompt, 'b'] }, {}],
    ['of an engine that tells no ids', {}, { ours: false, tellsTokenIds: false }],
    ['of another engine, when it is drawn from a seed', { seed: 1 }, { ours: false }],
    ['of another engine, when its text has to end at some word', { stop: ['x'] }, { ours: false }],
  ])('%s ends with an error event, not with a cut or a false end', async (_, extra, options) => {
    const dies = always({ kind: 'break', how: 'reset', frameCount: 2, byteCount: 30 });
    await using cluster = await startCluster({ decode: [{ ...options, ...dies }, options] });
    const seen = await readStream(await cluster.post({ ...asked, ...extra, stream: true }));
    expect(seen.error).toMatchObject({ code: 'stream_broken', type: 'server_error' });
    expect(seen.done).toBe(false);
    expect(seen.events).toHaveLength(3);
  });

  it('is begun again elsewhere when nothing of it was seen, whatever the engine', async () => {
    const dies = always({ kind: 'break', how: 'reset', frameCount: 0, byteCount: 30 });
    await using cluster = await startCluster({
      decode: [{ ...dies, ours: false }, { ...dies, ours: false }, { ours: false }],
    });
    const seen = await readStream(await cluster.post({ ...asked, stream: true, n: 2 }));
    expect(seen).toMatchObject({ text, done: true, error: null });
  });
});

describe('an instance that does not answer', () => {
  /** On a still clock that is moved by hand, real sockets have no deadlines of this kind. */
  const argv = ['--probe-ms', '1e9', '--connect-ms', '1e9'];

  /** Moves a still clock on while the real sockets do their part. */
  async function whileTimePasses<T>(clock: FakeClock, work: Promise<T>, byMs: number): Promise<T> {
    let over = false;
    const done = work.finally(() => {
      over = true;
    });
    await eventually(() => {
      if (!over) clock.advance(byMs);
      return over;
    }, 'the answer');
    return await done;
  }

  it('is left after the first-byte deadline, which grows with the prompt', async () => {
    const clock = new FakeClock();
    const body = { ...asked, prompt: 'x'.repeat(4_000) };
    await using cluster = await startCluster({
      prefill: [always({ kind: 'hang' })],
      decode: [{}],
      clock,
      argv,
    });
    const startMs = clock.monotonicMs();
    await whileTimePasses(clock, cluster.post(body), 500);
    const tookMs = clock.monotonicMs() - startMs;
    // 30 s, and 1 s for each 100 of about 1,000 tokens.
    expect(tookMs).toBeGreaterThanOrEqual(40_000);
    expect(tookMs).toBeLessThan(42_000);
  });

  it('is left early when it fails its probes too', async () => {
    const clock = new FakeClock();
    await using cluster = await startCluster({
      decode: [always({ kind: 'hang' }), {}],
      clock,
      argv,
    });
    const answer = cluster.post(asked);
    await eventually(() => cluster.sent('decode')[0], 'the decode leg');
    const [hung] = cluster.decode;
    if (hung !== undefined) hung.healthy = false;
    const startMs = clock.monotonicMs();
    expect(await answerText(await whileTimePasses(clock, answer, 500))).toBe(text);
    expect(clock.monotonicMs() - startMs).toBeLessThan(25_000);
  });

  it('is left when its stream stalls, and the stream goes on elsewhere', async () => {
    const clock = new FakeClock();
    const stalls = { kind: 'break', how: 'stall', frameCount: 2, byteCount: 50 } as const;
    await using cluster = await startCluster({ decode: [always(stalls), {}], clock, argv });
    const startMs = clock.monotonicMs();
    const seen = await whileTimePasses(
      clock,
      cluster.post({ ...asked, stream: true }).then(readStream),
      500,
    );
    expect(seen).toMatchObject({ text, done: true, error: null });
    expect(clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(10_000);
    expect(cluster.decode[0]?.requests[0]?.aborted).toBe(true);
  });

  const decodeBreakers = ({ proxy }: Cluster) =>
    proxy.pool.instances
      .filter(({ kind }) => kind === 'decode')
      .map((one) => one.breakers.decode.closed);

  it.each([
    { kind: 'hang', stream: false },
    { kind: 'pings', stream: false },
    { kind: 'pings', stream: true },
  ] as const)(
    'is left when it generates nothing, though its probes are well: $kind, streamed $stream',
    async ({ kind, stream }) => {
      const clock = new FakeClock();
      await using cluster = await startCluster({ decode: [always({ kind }), {}], clock, argv });
      const startMs = clock.monotonicMs();
      const answer = cluster.post({ ...asked, stream });
      const asText = stream
        ? answer.then(readStream).then((seen) => seen.text)
        : answer.then(answerText);
      expect(await whileTimePasses(clock, asText, 500)).toBe(text);
      const tookMs = clock.monotonicMs() - startMs;
      expect(tookMs).toBeGreaterThanOrEqual(30_000);
      expect(tookMs).toBeLessThan(60_000);
      expect(decodeBreakers(cluster)).toEqual([stream, true]);
    },
  );

  it.each([true, false])(
    'is found out by who leaves it, unless it is busy with streams: %s',
    async (busy) => {
      const clock = new FakeClock();
      const fate = ({ body }: ScriptedRequest): Fate =>
        body['stream'] === true ? { kind: 'serve' } : { kind: 'hang' };
      await using cluster = await startCluster({ prefill: [], decode: [{ fate }], clock, argv });
      const client = new AbortController();
      const left = cluster.post(asked, { signal: client.signal }).catch(() => 'left');
      await eventually(() => cluster.sent('decode').length === 1, 'the leg to be there');
      clock.advance(2_000);
      client.abort();
      expect(await left).toBe('left');
      await eventually(() => cluster.sent('decode').length === 2, 'the probe to be there');
      expect(cluster.sent('decode')[1]?.body).toMatchObject({ max_tokens: 1 });
      if (busy) await readStream(await cluster.post({ ...asked, stream: true }));
      const probed = eventually(() => cluster.sent('decode')[1]?.aborted, 'the end of the probe');
      await whileTimePasses(clock, probed, 500);
      await eventually(() => busy || !decodeBreakers(cluster)[0], 'the verdict');
      expect(decodeBreakers(cluster)).toEqual([busy]);
    },
  );

  it.each([true, false])(
    'may compute one very long prompt before the probe, within its time: %s',
    async (answers) => {
      const clock = new FakeClock();
      let compute = () => {};
      const computed = new Promise<object>((resolve) => {
        compute = () => resolve({});
      });
      const decode = [{ ours: false, connector: () => computed }];
      await using cluster = await startCluster({ prefill: [], decode, clock, argv });
      // About 4,000 tokens, which may take 70 s.
      const answer = cluster.post({ ...asked, prompt: 'x'.repeat(16_000) });
      const untilMs = clock.monotonicMs() + 65_000;
      const late = eventually(() => clock.monotonicMs() >= untilMs, '65 s');
      await whileTimePasses(clock, late, 500);
      expect(cluster.sent('decode')[1]?.body).toMatchObject({ max_tokens: 1 });
      expect(decodeBreakers(cluster)).toEqual([true]);
      if (answers) compute();
      const { status } = await whileTimePasses(clock, answer, 500);
      expect(status).toBe(answers ? 200 : 504);
      expect(decodeBreakers(cluster)).toEqual([answers]);
    },
  );

  it('has the benefit of the doubt where its probe ends otherwise', async () => {
    const clock = new FakeClock();
    const fate = ({ body }: ScriptedRequest): Fate =>
      body['max_tokens'] === 1 ? { kind: 'half' } : { kind: 'hang' };
    await using cluster = await startCluster({ prefill: [], decode: [{ fate }], clock, argv });
    const client = new AbortController();
    const left = cluster.post(asked, { signal: client.signal }).catch(() => 'left');
    const probes = eventually(() => cluster.sent('decode').length >= 4, 'three probes');
    await whileTimePasses(clock, probes, 500);
    expect(decodeBreakers(cluster)).toEqual([true]);
    client.abort();
    expect(await left).toBe('left');
  });

  it('has the benefit of the doubt where it counts no tokens', async () => {
    const clock = new FakeClock();
    const decode = [{ ...always({ kind: 'hang' }), tells: { '/metrics': {} } }];
    await using cluster = await startCluster({ prefill: [], decode, clock, argv });
    const client = new AbortController();
    const left = cluster.post(asked, { signal: client.signal }).catch(() => 'left');
    await eventually(() => cluster.sent('decode').length === 1, 'the leg to be there');
    for (let count = 0; count < 200; count += 1) {
      clock.advance(500);
      await new Promise(setImmediate);
    }
    expect(decodeBreakers(cluster)).toEqual([true]);
    expect(cluster.sent('decode')).toHaveLength(1);
    client.abort();
    expect(await left).toBe('left');
  });
});
