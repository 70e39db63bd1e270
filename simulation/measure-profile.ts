/**
 * `npm run simulate:measure -- FILE`: measures the speeds of an
 * instance of the bundled model, alone on this machine, and writes them as a profile.
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { freePorts, Processes, untilReady } from '../e2e/processes.ts';
import { CostModel } from './cost-model.ts';
import type { Profile } from './profile.ts';
import { type Timed, timedAsk, tokensOfBlock } from './timed-ask.ts';

const model = 'tsukimi-demo';
const slots = 8;
const contextTokens = 2_048;
const kvBytesPerToken = 4_096;
const stepTokens = 256;
const repetitions = 5;
const promptLengths = [64, 256, 512, 1_024, 1_536, 1_920];
const decodeTokens = 256;
const decodeInputLengths = [32, 512, 1_536];
const batches = [1, 2, 4, 8];

/** Of a part of the machine that was busy with something else, the rest is what is wanted: the middle one. */
function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] as number;
}

/** While all of `streams` decode: before, they share their steps with the prompts of others. */
function msPerTokenTogether(streams: readonly Timed[]): number {
  const startMs = Math.max(...streams.map(({ firstTokenMs }) => firstTokenMs));
  const endMs = Math.min(...streams.map(({ lastTokenMs }) => lastTokenMs));
  const paces = streams.map(({ pieceMs }) => {
    const inside = pieceMs.filter((ms) => ms > startMs && ms <= endMs).length;
    const tokensPerPiece = decodeTokens / pieceMs.length;
    return (endMs - startMs) / (inside * tokensPerPiece);
  });
  return median(paces);
}

async function measure(url: string): Promise<Profile> {
  let promptCount = 0;
  const newPrompt = (length: number) => tokensOfBlock(1_000_000 + promptCount++, length);
  const rounded = (ms: number) => Number(ms.toFixed(3));
  // The first requests pay for pages and compiled code.
  for (let warm = 0; warm < 3; warm++) await timedAsk(url, model, newPrompt(512), 16);
  const prefill: Profile['prefill'] = [];
  const hits: number[] = [];
  for (const tokens of promptLengths) {
    const times: number[] = [];
    for (let time = 0; time < repetitions; time++) {
      const prompt = newPrompt(tokens);
      times.push((await timedAsk(url, model, prompt, 1)).firstTokenMs);
      if (tokens === promptLengths.at(-1)) {
        hits.push((await timedAsk(url, model, prompt, 1)).firstTokenMs);
      }
    }
    prefill.push({ tokens, ms: rounded(median(times)) });
  }
  const decode: Profile['decode'] = [];
  for (const inputTokens of decodeInputLengths) {
    for (const batch of batches) {
      const perToken: number[] = [];
      for (let time = 0; time < 3; time++) {
        const spans = await Promise.all(
          Array.from({ length: batch }, () =>
            timedAsk(url, model, newPrompt(inputTokens), decodeTokens),
          ),
        );
        perToken.push(msPerTokenTogether(spans));
      }
      const msPerToken = rounded(median(perToken));
      decode.push({ batch, inputTokens, outputTokens: decodeTokens, msPerToken });
    }
  }
  const cost = new CostModel({ prefill, decode, stepTokens });
  const longest = promptLengths.at(-1) as number;
  const loadMs = Math.max(0.5, median(hits) - cost.prefillMs({ from: longest - 1, to: longest }));
  return {
    name: `${model}-one-thread`,
    source: 'npm run simulate:measure -- FILE',
    how: [
      `tsukimi serve --model ${model} --threads 1 --max-num-seqs ${slots}, on ${availableParallelism()} of ${cpus()[0]?.model}, through HTTP; the medians of ${repetitions} and 3.`,
      'prefill: time to the first token of prompts that were never seen before.',
      `decode: so many streams of ${decodeTokens} tokens at once, while all of them decode.`,
      `transferBytesPerSecond: the longest prompt once more, less the time to compute its last token: ${loadMs.toFixed(1)} ms.`,
      'transferFixedMs, lookupMsPerBlock and hopMs are in the measured times already.',
      'storeTokensPerInstance: segments of 256 MiB.',
    ],
    ...{ prefill, decode, slots, kvTokens: slots * contextTokens, keepsPrefixes: false },
    ...{ kvBytesPerToken, stepTokens },
    transferBytesPerSecond: Math.round(((longest * kvBytesPerToken) / loadMs) * 1_000),
    ...{ transferFixedMs: 0, lookupMsPerBlock: 0 },
    storeTokensPerInstance: 2 ** 28 / kvBytesPerToken,
    hopMs: 0.5,
    objective: { ttftMs: 2_000, tpotMs: 50 },
  };
}

const [path] = process.argv.slice(2);
if (path === undefined) throw new RangeError('the file to write is missing');
await using processes = new Processes();
const port = await freePorts(1);
const url = `http://127.0.0.1:${port}`;
const started = processes.start([
  ...['serve', '--model', model, '--host', '127.0.0.1', '--port', String(port)],
  ...['--max-num-seqs', String(slots), '--threads', '1'],
]);
await untilReady(`${url}/ready`, started);
writeFileSync(path, `${JSON.stringify(await measure(url), null, 2)}\n`);
