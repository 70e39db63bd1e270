import { fileURLToPath } from 'node:url';
import { SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { type ContextOptions, KoffiLlamaBackend, type LlamaModel } from '@tsukimi/llama';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  Engine,
  type EngineOptions,
  type GenerationEnd,
  type GenerationRequest,
  isEnd,
  type SamplingOptions,
  type StepPlan,
} from '../src/index.ts';
import { MemoryPrefixStore } from '../src/testing.ts';

const modelPath = fileURLToPath(
  new URL('../../../models/tsukimi-demo-1m-q8_0.gguf', import.meta.url),
);

let model: LlamaModel;
beforeAll(async () => {
  model = await (await KoffiLlamaBackend.open()).loadModel(modelPath);
});
afterAll(() => model.close());

const started: Engine[] = [];
afterEach(async () => {
  for (const engine of started.splice(0)) {
    await engine.stop(AbortSignal.abort());
    engine.checkInvariants();
  }
});

async function startEngine(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = new Engine({
    model,
    slotCount: 4,
    contextLength: 768,
    threads: 1,
    prefixStore: null,
    clock: new SystemClock(),
    random: new SeededRandom(1),
    logger: silentLogger,
    ...options,
  });
  await engine.start();
  started.push(engine);
  return engine;
}

const greedy: SamplingOptions = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  seed: null,
  logitBias: [],
};

function requestOf(prompt: string | Int32Array, rest: Partial<GenerationRequest> = {}) {
  const promptTokens =
    typeof prompt === 'string'
      ? model.tokenize(prompt, { addSpecial: true, parseSpecial: true })
      : prompt;
  return {
    promptTokens,
    maxTokens: 24,
    sampling: greedy,
    stop: [],
    ignoreEos: true,
    minTokens: 0,
    salt: '',
    saveBeforeFirstToken: false,
    ...rest,
  };
}

interface Output {
  readonly tokens: number[];
  readonly text: string;
  readonly end: GenerationEnd;
}

const never = new AbortController().signal;

async function generate(
  engine: Engine,
  request: GenerationRequest,
  signal = never,
): Promise<Output> {
  const tokens: number[] = [];
  let text = '';
  for await (const event of engine.generate(request, { signal })) {
    if (isEnd(event)) return { tokens, text, end: event };
    tokens.push(...event.tokens);
    text += event.text;
  }
  throw new Error('a generation ends with an end');
}

const longPrompt = (seed: number, count = 400) =>
  Int32Array.from({ length: count }, (_, index) => (seed * 31 + index * 7919) % 2_000);

const seeded: SamplingOptions = {
  ...greedy,
  temperature: 0.9,
  topP: 0.95,
  seed: 2 ** 40 + 7,
  repetitionPenalty: 1.1,
  presencePenalty: 0.2,
  frequencyPenalty: 0.1,
};

describe('Engine output', () => {
  it('is the same alone, in a batch of eight and with a prompt cut anywhere', async () => {
    const alone = await startEngine({ slotCount: 1, prefillBudget: 512 });
    const expected: Output[] = [];
    for (let seed = 0; seed < 8; seed++) {
      expected.push(await generate(alone, requestOf(longPrompt(seed, 60 + 40 * seed))));
    }
    for (const prefillBudget of [37, 256]) {
      const crowded = await startEngine({ slotCount: 8, prefillBudget });
      const all = expected.map((_, seed) =>
        generate(crowded, requestOf(longPrompt(seed, 60 + 40 * seed))),
      );
      expect(await Promise.all(all)).toEqual(expected);
    }
  });

  it('is the same when the KV of the prompt comes from another engine', async () => {
    const prefixStore = new MemoryPrefixStore();
    const producer = await startEngine({ prefixStore, slotCount: 2 });
    const request = requestOf(longPrompt(3));
    const computed = await generate(producer, request);
    expect(computed.end.cachedTokens).toBe(0);
    expect(prefixStore.saves).toEqual([
      { kind: 'prompt', cells: 400 },
      { kind: 'generated', cells: 423 },
    ]);
    const steps: StepPlan[] = [];
    const consumer = await startEngine({
      prefixStore,
      slotCount: 5,
      onStep: (plan) => steps.push(plan),
    });
    const loaded = await Promise.all([
      generate(consumer, requestOf(longPrompt(9))),
      generate(consumer, request),
    ]);
    expect(loaded[1]).toEqual({ ...computed, end: { ...computed.end, cachedTokens: 399 } });
    const rows = steps.flatMap((plan) => plan.rows).filter(({ slot }) => slot === 1);
    expect(rows[0]).toMatchObject({ kind: 'prefill', from: 399, count: 1 });
    expect(prefixStore.lentCount).toBe(0);
    const salted = await generate(consumer, { ...request, salt: 'other' });
    expect(salted.end.cachedTokens).toBe(0);
    expect(salted.tokens).toEqual(computed.tokens);
  });

  it.each([
    ['greedy', greedy],
    ['seeded, with penalties', seeded],
  ])('continues exactly where another engine was lost: %s', async (_, sampling) => {
    const engine = await startEngine();
    const request = requestOf('Once upon a time there was a fox who', { sampling, maxTokens: 40 });
    const whole = await generate(engine, request);
    expect(new Set(whole.tokens).size).toBeGreaterThan(5);
    for (const count of [1, 17, 39, 40]) {
      const resumeTokens = whole.tokens.slice(0, count);
      const rest = await generate(engine, { ...request, resumeTokens });
      expect([...resumeTokens, ...rest.tokens]).toEqual(whole.tokens);
      expect(whole.text.endsWith(rest.text)).toBe(true);
      expect(rest.end).toEqual(whole.end);
    }
  });

  it('follows the seed, and chance without one', async () => {
    const engine = await startEngine();
    const draw = async (seed: number | null) => {
      const sampling = { ...greedy, temperature: 1.5, seed };
      return (await generate(engine, requestOf('Once upon a time', { sampling }))).text;
    };
    expect(await draw(5)).toBe(await draw(5));
    expect(await draw(6)).not.toBe(await draw(5));
    expect(await draw(null)).not.toBe(await draw(null));
  });

  it('shifts with penalties and logit bias', async () => {
    const engine = await startEngine();
    const plain = await generate(engine, requestOf('Once upon a time'));
    const forbidden = plain.tokens[0] as number;
    const biased = await generate(
      engine,
      requestOf('Once upon a time', {
        sampling: { ...greedy, logitBias: [[forbidden, -100]] },
      }),
    );
    expect(biased.tokens).not.toContain(forbidden);
    const unrepeated = await generate(
      engine,
      requestOf('Once upon a time', { sampling: { ...greedy, frequencyPenalty: 100 } }),
    );
    expect(new Set(unrepeated.tokens).size).toBe(24);
  });
});

describe('Engine ends', () => {
  it('at a stop string, showing the text before it', async () => {
    const engine = await startEngine();
    const whole = await generate(engine, requestOf('Once upon a time', { maxTokens: 60 }));
    const stop = whole.text.slice(20, 27);
    const cut = await generate(
      engine,
      requestOf('Once upon a time', { maxTokens: 60, stop: ['no such text', stop] }),
    );
    expect(cut.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(cut.end).toMatchObject({ finishReason: 'stop', stopReason: stop });
    expect(cut.end.completionTokens).toBe(cut.tokens.length);
  });

  it('at an end-of-generation token, but not before the tokens asked for, nor when it is ignored', async () => {
    const engine = await startEngine();
    const prompt =
      '<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n';
    const natural = await generate(engine, requestOf(prompt, { ignoreEos: false, maxTokens: 80 }));
    expect(natural.end).toMatchObject({ finishReason: 'stop', stopReason: null });
    expect(model.vocabulary.eogTokens).toContain(natural.tokens.at(-1));
    expect(natural.text).not.toContain('<|');
    const minTokens = natural.tokens.length + 5;
    const longer = await generate(
      engine,
      requestOf(prompt, { ignoreEos: false, maxTokens: 80, minTokens }),
    );
    expect(longer.tokens.length).toBeGreaterThanOrEqual(minTokens);
    expect(longer.tokens.slice(0, minTokens)).toSatisfy((tokens: number[]) =>
      tokens.every((token) => !model.vocabulary.eogTokens.includes(token)),
    );
    const ignored = await generate(engine, requestOf(prompt, { maxTokens: 80 }));
    expect(ignored.tokens).toHaveLength(80);
    expect(ignored.end.finishReason).toBe('length');
  });

  it('when the context is full', async () => {
    const engine = await startEngine();
    const output = await generate(engine, requestOf(longPrompt(1, 760), { maxTokens: 100 }));
    expect(output.tokens).toHaveLength(8);
    expect(output.end).toMatchObject({ finishReason: 'length', completionTokens: 8 });
  });

  it('when the caller leaves, and frees the slot for the next', async () => {
    const engine = await startEngine({ slotCount: 1 });
    const leaving = new AbortController();
    const running = engine.generate(requestOf('Once', { maxTokens: 700 }), {
      signal: leaving.signal,
    });
    const waiting = generate(engine, requestOf('Twice', { maxTokens: 3 }));
    const reasons: string[] = [];
    for await (const event of running) {
      leaving.abort();
      if (isEnd(event)) reasons.push(event.finishReason);
    }
    expect(reasons).toEqual(['abort']);
    expect((await waiting).tokens).toHaveLength(3);
    for await (const event of engine.generate(requestOf('Once', { maxTokens: 700 }), {
      signal: never,
    })) {
      expect(isEnd(event)).toBe(false);
      break;
    }
    expect((await generate(engine, requestOf('Thrice', { maxTokens: 3 }))).tokens).toHaveLength(3);
    expect(engine.stats()).toMatchObject({ runningCount: 0, waitingCount: 0, slotCells: [0] });
  });
});

describe('Engine steps', () => {
  it('compute at most one prefill budget between two tokens of a stream', async () => {
    const steps: StepPlan[] = [];
    const engine = await startEngine({ prefillBudget: 64, onStep: (plan) => steps.push(plan) });
    const stream = engine.generate(requestOf('Once', { maxTokens: 40 }), { signal: never });
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    const first = steps.length;
    const arriving = [1, 2, 3].map((seed) => generate(engine, requestOf(longPrompt(seed, 500))));
    for (;;) {
      const { value } = (await iterator.next()) as { value: { tokens: number[] } | GenerationEnd };
      if ('finishReason' in value) break;
    }
    const beside = steps.slice(first).filter(({ rows }) => rows[0]?.slot === 0);
    expect(Math.max(...beside.map(({ prefillCount }) => prefillCount))).toBe(64);
    // The stream has a row in each of these steps: none of them is a prefill alone.
    const streaming = beside.slice(0, 39);
    expect(streaming.every(({ rows }) => rows[0]?.kind === 'decode')).toBe(true);
    await Promise.all(arriving);
    expect(engine.stats().prefillTokenCount).toBe(engine.stats().promptTokenCount);
  });

  it('fail only the requests that they computed', async () => {
    let failing = false;
    const flaky = new Proxy(model, {
      get(target, name) {
        if (name !== 'openContext') {
          const value: unknown = Reflect.get(target, name, target);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        }
        return (options: ContextOptions) => {
          const context = target.openContext(options);
          const decode = context.decode.bind(context);
          context.decode = (rowCount) => {
            if (!failing) return decode(rowCount);
            failing = false;
            return Promise.reject(new Error('out of memory'));
          };
          return context;
        };
      },
    });
    const engine = await startEngine({ model: flaky, slotCount: 1 });
    const broken = engine.generate(requestOf('Once', { maxTokens: 500 }), { signal: never });
    const waiting = generate(engine, requestOf('Once upon a time'));
    await expect(async () => {
      let first = true;
      for await (const event of broken) {
        expect(isEnd(event)).toBe(false);
        if (first) failing = true;
        first = false;
      }
    }).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(waiting).resolves.toMatchObject({ end: { finishReason: 'length' } });
    expect(engine.stats()).toMatchObject({ failedCount: 1, runningCount: 0 });
  });

  it('go on for others when a prefix store hangs or throws', async () => {
    const broken = await startEngine({
      loadMs: 5,
      prefixStore: {
        wants: () => true,
        keysOf: () => [],
        load: ({ tokens }) =>
          tokens.length > 100 ? new Promise(() => {}) : Promise.reject(new Error('lost')),
        save: () => Promise.reject(new Error('full')),
      },
    });
    const [hanging, throwing] = await Promise.all([
      generate(broken, requestOf(longPrompt(1, 200))),
      generate(broken, requestOf('Once upon a time', { saveBeforeFirstToken: true })),
    ]);
    expect(hanging.tokens).toHaveLength(24);
    expect(throwing.tokens).toHaveLength(24);
  });
});

describe('Engine hand-over', () => {
  it('tells the first token only after the prompt is saved', async () => {
    const order: string[] = [];
    const saves: (() => void)[] = [];
    const engine = await startEngine({
      handOverMs: 60_000,
      prefixStore: {
        wants: (kind) => kind === 'prompt',
        keysOf: () => [],
        load: async () => ({ cells: 0, chunks: [], release() {} }),
        save: () => new Promise((resolve) => saves.push(resolve)),
      },
    });
    const request = requestOf('Once upon a time', { maxTokens: 1, saveBeforeFirstToken: true });
    const held = generate(engine, request).then(() => order.push('told'));
    // Another request computes from start to end meanwhile.
    await generate(engine, requestOf('Twice'));
    order.push('saved');
    saves[0]?.();
    await held;
    expect(order).toEqual(['saved', 'told']);
  });

  it('does not wait longer than its bound', async () => {
    const engine = await startEngine({
      handOverMs: 1,
      prefixStore: {
        wants: () => true,
        keysOf: () => [],
        load: async () => ({ cells: 0, chunks: [], release() {} }),
        save: () => new Promise(() => {}),
      },
    });
    const output = await generate(engine, requestOf('Once', { saveBeforeFirstToken: true }));
    expect(output.tokens).toHaveLength(24);
  });

  it('saves a long prompt on the way, at the milestones', async () => {
    const prefixStore = new MemoryPrefixStore(['prompt']);
    const engine = await startEngine({ prefixStore, firstMilestone: 128 });
    await generate(engine, requestOf(longPrompt(1, 600)));
    expect(prefixStore.saves.map(({ cells }) => cells)).toEqual([128, 256, 512, 600]);
    await generate(engine, requestOf(longPrompt(1, 600)));
    expect(prefixStore.saves).toHaveLength(4);
  });
});

describe('Engine limits', () => {
  it('refuses more requests than may wait, with OVERLOADED', async () => {
    const engine = await startEngine({ slotCount: 1, waitingCountMax: 1 });
    const request = requestOf('Once', { maxTokens: 5 });
    const accepted = [generate(engine, request), generate(engine, request)];
    expect(() => engine.generate(request, { signal: never })).toThrow(
      expect.objectContaining({ code: 'OVERLOADED' }),
    );
    expect((await Promise.all(accepted)).map(({ tokens }) => tokens.length)).toEqual([5, 5]);
  });

  it('refuses what would not fit or is out of range, naming the field', async () => {
    const engine = await startEngine();
    const refusals: [Partial<GenerationRequest>, RegExp][] = [
      [{ promptTokens: longPrompt(1, 768) }, /768 tokens.*--max-model-len/],
      [{ promptTokens: new Int32Array() }, /no tokens/],
      [{ promptTokens: Int32Array.of(99_999) }, /model lacks/],
      [{ resumeTokens: [-1] }, /tsukimi_resume/],
      [{ maxTokens: 0 }, /max_tokens/],
      [{ sampling: { ...greedy, logitBias: [[5_000, 1]] } }, /logit_bias/],
      [{ sampling: { ...greedy, temperature: Number.NaN } }, /temperature/],
      [{ sampling: { ...greedy, repetitionPenalty: 0 } }, /repetition_penalty/],
    ];
    for (const [fields, message] of refusals) {
      expect(() => engine.generate(requestOf('Once', fields), { signal: never })).toThrow(message);
    }
  });

  it('finishes what it holds when stopped, and refuses more', async () => {
    const engine = await startEngine({ slotCount: 1 });
    const held = [1, 2].map(() => generate(engine, requestOf('Once')));
    await engine.stop(never);
    expect((await Promise.all(held)).map(({ end }) => end.finishReason)).toEqual([
      'length',
      'length',
    ]);
    expect(() => engine.generate(requestOf('Once'), { signal: never })).toThrow(/not running/);
    await expect(engine.ended()).resolves.toBeUndefined();
  });
});
