/**
 * What an instance costs above llama.cpp: decoded tokens a second through its HTTP API, beside the bare
 * loop of decode and greedy sampling, alternating in one run with the same model and one thread each.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { eventually } from '@tsukimi/base/testing';
import { bundledModels } from '@tsukimi/demo-model';
import { KoffiLlamaBackend, type LlamaModel } from '@tsukimi/llama';

const roundCount = 3;
const tokenCount = 384;
const prompt = 'Tell me a story about a fox who lost a red kite.';
const programPath = fileURLToPath(new URL('../packages/cli/bin/tsukimi.js', import.meta.url));

/** One JSON object: tokens a second of instance and bare loop with 1 and 8 streams, and their ratios. */
export async function run(): Promise<object> {
  const backend = await KoffiLlamaBackend.open();
  const model = await backend.loadModel(bundledModels['tsukimi-demo']);
  const port = await freePort();
  const instance = spawn(
    process.execPath,
    [
      ...[programPath, 'serve', '--model', 'tsukimi-demo', '--host', '127.0.0.1'],
      ...['--port', String(port), '--threads', '1'],
    ],
    { stdio: 'ignore' },
  );
  try {
    const url = `http://127.0.0.1:${port}`;
    await eventually(async () => (await fetch(`${url}/ready`)).ok, 'the instance', 30_000);
    const result: Record<string, number | string> = {
      benchmark: 'decode',
      model: 'tsukimi-demo',
    };
    for (const streamCount of [1, 8]) {
      let bare = 0;
      let served = 0;
      for (let round = 0; round < roundCount; round++) {
        bare += await bareRate(model, streamCount);
        served += await servedRate(url, streamCount);
      }
      result[`bare_tokens_per_second_${streamCount}`] = Math.round(bare / roundCount);
      result[`instance_tokens_per_second_${streamCount}`] = Math.round(served / roundCount);
      result[`ratio_${streamCount}`] = Number((served / bare).toFixed(2));
    }
    return result;
  } finally {
    await ended(instance);
    await model.close();
  }
}

/** Every stream in a sequence of its own, one row of each in a decode. */
async function bareRate(model: LlamaModel, streamCount: number): Promise<number> {
  const context = model.openContext({
    ...{ slots: streamCount, cellsPerSlot: 1_024, threads: 1, batchTokens: 256 },
  });
  const chain = model.openChain([{ kind: 'greedy' }]);
  const tokens = model.tokenize(prompt, { addSpecial: true, parseSpecial: false });
  const next = new Int32Array(streamCount);
  for (let sequence = 0; sequence < streamCount; sequence++) {
    tokens.forEach((token, row) => setRow(row, token, row, sequence, row === tokens.length - 1));
    await context.decode(tokens.length);
    next[sequence] = context.sample(chain, tokens.length - 1);
  }
  const startMs = performance.now();
  for (let step = 1; step < tokenCount; step++) {
    next.forEach((token, sequence) =>
      setRow(sequence, token, tokens.length + step - 1, sequence, true),
    );
    await context.decode(streamCount);
    for (let row = 0; row < streamCount; row++) next[row] = context.sample(chain, row);
  }
  const seconds = (performance.now() - startMs) / 1_000;
  chain.close();
  await context.close();
  return ((tokenCount - 1) * streamCount) / seconds;

  function setRow(row: number, token: number, at: number, sequence: number, isOutput: boolean) {
    const { batch } = context;
    batch.tokens[row] = token;
    batch.positions[row] = at;
    batch.sequences[row] = sequence;
    batch.outputs[row] = isOutput ? 1 : 0;
  }
}

/** From the first token of the last stream to the last token of the first, as clients see it. */
async function servedRate(url: string, streamCount: number): Promise<number> {
  const spans = await Promise.all(
    Array.from({ length: streamCount }, async (_, index) => {
      const answer = await fetch(`${url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          ...{ model: 'tsukimi-demo', prompt, max_tokens: tokenCount, temperature: 0 },
          ...{ ignore_eos: true, stream: true, cache_salt: String(index) },
        }),
      });
      let firstMs = 0;
      for await (const _chunk of answer.body as AsyncIterable<Uint8Array>) {
        if (firstMs === 0) firstMs = performance.now();
      }
      return { firstMs, lastMs: performance.now() };
    }),
  );
  const startMs = Math.min(...spans.map(({ firstMs }) => firstMs));
  const endMs = Math.max(...spans.map(({ lastMs }) => lastMs));
  return ((tokenCount - 1) * streamCount * 1_000) / (endMs - startMs);
}

async function ended(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await exited;
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
