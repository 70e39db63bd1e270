import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  chunkByteCount,
  cutChunk,
  joinChunks,
  KoffiLlamaBackend,
  type LlamaContext,
  type LlamaModel,
  parseSequenceState,
  type SequenceLayout,
} from '../src/index.ts';
import { installedLibraries } from '../src/koffi/backend.ts';
import { checkVersion } from '../src/koffi/bindings.ts';

const modelPath = fileURLToPath(
  new URL('../../../models/tsukimi-demo-1m-q8_0.gguf', import.meta.url),
);

let model: LlamaModel;
beforeAll(async () => {
  model = await (await KoffiLlamaBackend.open()).loadModel(modelPath);
});
afterAll(() => model.close());

function openContext(slots: number): LlamaContext {
  return model.openContext({ slots, cellsPerSlot: 512, threads: 1, batchTokens: 512 });
}

/** Decodes tokens of one sequence from a position on; gives the logits of the last. */
async function decode(
  context: LlamaContext,
  sequence: number,
  tokens: ArrayLike<number>,
  from: number,
): Promise<Float32Array> {
  for (let row = 0; row < tokens.length; row++) {
    context.batch.tokens[row] = tokens[row] as number;
    context.batch.positions[row] = from + row;
    context.batch.sequences[row] = sequence;
    context.batch.outputs[row] = row === tokens.length - 1 ? 1 : 0;
  }
  await context.decode(tokens.length);
  return context.logits(tokens.length - 1);
}

const argmax = (values: Float32Array) =>
  values.reduce((best, value, index) => (value > (values[best] as number) ? index : best), 0);

const prompt = Int32Array.from({ length: 300 }, (_, index) => (index * 7919 + 11) % 2_000);

describe('KoffiLlamaBackend', () => {
  it('refuses another release, another platform and a directory without the library, each in one sentence', async () => {
    expect(() => checkVersion('0.6.1')).toThrow(/v0\.5\.0 .*0\.6\.1/);
    await expect(installedLibraries('win32', 'x64')).rejects.toThrow(/win32-x64/);
    const directory = await mkdtemp(join(tmpdir(), 'tsukimi-llama-'));
    await writeFile(join(directory, 'libllama.v0.4.2.so'), '');
    const opening = KoffiLlamaBackend.open({ libraryDirectory: directory });
    await expect(opening).rejects.toMatchObject({
      code: 'MISCONFIGURED',
      message: expect.stringMatching(/v0\.5\.0.*libllama\.v0\.4\.2\.so/) as string,
    });
    await rm(directory, { recursive: true });
  });

  it('says why a model cannot be loaded', async () => {
    const backend = await KoffiLlamaBackend.open();
    await expect(backend.loadModel('/nowhere.gguf')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const path = join(await mkdtemp(join(tmpdir(), 'tsukimi-llama-')), 'x.gguf');
    const bytes = Buffer.alloc(24 + 8 + 20 + 4 + 8 + 7);
    bytes.write('GGUF\x03', 0, 'latin1');
    bytes.writeUInt32LE(1, 16);
    bytes.writeUInt32LE(20, 24);
    bytes.write('general.architecture', 32, 'latin1');
    bytes.writeUInt32LE(8, 52);
    bytes.writeUInt32LE(7, 56);
    bytes.write('unheard', 64, 'latin1');
    await writeFile(path, bytes);
    await expect(backend.loadModel(path)).rejects.toMatchObject({
      code: 'MALFORMED',
      message: expect.stringContaining('unheard') as string,
    });
  });
});

describe('KoffiModel', () => {
  it('tells what the model is', () => {
    expect(model.info).toMatchObject({
      weightType: 'Q8_0',
      contextLength: 2_048,
      layerCount: 4,
      decoder: true,
      recurrent: false,
      slidingWindow: 0,
    });
    expect(model.vocabulary.size).toBe(2_048);
    expect(model.vocabulary.eogTokens).toContain(model.vocabulary.eosToken);
    expect(model.chatTemplate).toContain('<|im_start|>');
  });

  it('gives a text back, and reads control tokens only when asked', () => {
    const text = 'Once upon a time: 月見 <|im_end|>';
    const plain = model.tokenize(text, { addSpecial: false, parseSpecial: false });
    expect(model.detokenize(plain)).toBe(text);
    expect(Buffer.concat(Array.from(plain, (token) => model.piece(token))).toString('utf8')).toBe(
      text,
    );
    const special = model.tokenize(text, { addSpecial: false, parseSpecial: true });
    expect(special.length).toBeLessThan(plain.length);
    const end = special.at(-1) as number;
    expect(model.piece(end).toString()).toBe('');
    expect(model.piece(end, true).toString()).toBe('<|im_end|>');
  });
});

describe('SamplerChain', () => {
  it('picks the largest logit when greedy, unless a bias forbids it', async () => {
    const context = openContext(1);
    const logits = await decode(context, 0, prompt.subarray(0, 20), 0);
    const best = argmax(logits);
    const greedy = model.openChain([{ kind: 'greedy' }]);
    expect(context.sample(greedy, 19)).toBe(best);
    const biased = model.openChain([
      { kind: 'logit-bias', biases: [[best, Number.NEGATIVE_INFINITY]] },
      { kind: 'greedy' },
    ]);
    expect(context.sample(biased, 19)).not.toBe(best);
    biased.remove(0);
    expect(context.sample(biased, 19)).toBe(best);
    greedy.close();
    biased.close();
    await context.close();
  });

  it('draws the same token for the same seed, and others for others', async () => {
    const context = openContext(1);
    await decode(context, 0, prompt.subarray(0, 20), 0);
    const draw = (seed: number) => {
      const chain = model.openChain([
        { kind: 'temperature', temperature: 5 },
        { kind: 'dist', seed },
      ]);
      const token = context.sample(chain, 19);
      chain.close();
      return token;
    };
    expect(draw(7)).toBe(draw(7));
    expect(new Set([1, 2, 3, 4, 5, 6, 7, 8].map(draw)).size).toBeGreaterThan(3);
    await context.close();
  });
});

describe('KoffiContext', () => {
  it('continues bit-equally from chunks that another context with other streams exported', async () => {
    const alone = openContext(1);
    const reference = [await decode(alone, 0, prompt, 0)];
    const producer = openContext(2);
    await decode(producer, 1, prompt.subarray(100, 200), 0);
    for (let from = 0; from < prompt.length; from += 77) {
      await decode(producer, 0, prompt.subarray(from, from + 77), from);
    }
    const state = Buffer.alloc(producer.stateByteCount(0));
    await producer.exportState(0, state);

    // The layout comes from a short sequence of yet another slot.
    await decode(producer, 1, [1, 2, 3], 100);
    producer.removeCells(1, 3, -1);
    const short = Buffer.alloc(producer.stateByteCount(1));
    await producer.exportState(1, short);
    const layout = parseSequenceState(short, 2) as SequenceLayout;
    expect(layout).toEqual(parseSequenceState(state, 2));
    expect(layout.cellByteCount).toBe(1_024);

    const chunks = [
      [0, 128],
      [128, 256],
      [256, 300],
    ].map(([from, to]) => {
      const cells = (to as number) - (from as number);
      const bytes = Buffer.alloc(chunkByteCount(layout, cells));
      expect(cutChunk(state, layout, from as number, to as number, bytes)).toBe(bytes.length);
      return { cells, bytes };
    });
    const consumer = openContext(5);
    await decode(consumer, 2, prompt.subarray(50, 90), 0);
    const scratch = Buffer.alloc(2 ** 20);
    const joined = joinChunks(layout, { streams: 5, sequence: 3, chunks }, scratch);
    await consumer.importState(3, joined);
    consumer.removeCells(3, 299, -1);
    const continued = [await decode(consumer, 3, prompt.subarray(299), 299)];
    for (let step = 0; step < 12; step++) {
      const left = argmax(reference[step] as Float32Array);
      const right = argmax(continued[step] as Float32Array);
      reference.push(await decode(alone, 0, [left], 300 + step));
      continued.push(await decode(consumer, 3, [right], 300 + step));
    }
    expect(continued).toEqual(reference);
    await Promise.all([alone.close(), producer.close(), consumer.close()]);
  });

  it('refuses a broken state and leaves the sequence empty', async () => {
    const context = openContext(2);
    await decode(context, 0, prompt.subarray(0, 10), 0);
    const state = Buffer.alloc(context.stateByteCount(0));
    await context.exportState(0, state);
    await expect(context.importState(1, state.subarray(0, 60))).rejects.toMatchObject({
      code: 'MALFORMED',
    });
    const emptyByteCount = 12 + 2 * 4;
    expect(context.stateByteCount(1)).toBe(emptyByteCount);
    await decode(context, 1, prompt.subarray(0, 10), 0);
    await context.close();
  });

  it('waits for a decode in flight before it frees the memory', async () => {
    const context = openContext(1);
    context.batch.tokens.fill(1);
    context.batch.sequences.fill(0);
    context.batch.positions.forEach((_, row) => (context.batch.positions[row] = row));
    const decoding = context.decode(500);
    await context.close();
    await expect(decoding).resolves.toBeUndefined();
    expect(() => context.stateByteCount(0)).toThrow(/closed/);
  });
});
