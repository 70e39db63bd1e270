/**
 * `npm run interop:vllm [-- store | nixl | resume …]`: the published vLLM, a prefill and a decode instance of it behind
 * our proxy, on our master and metadata server. Every request must be answered as an instance answers it
 * that does all by itself, and the decode instance's own metric must show that it computed none of the
 * full blocks of the prompt. `resume`: of two decode instances one is killed in the middle of streams, then the
 * other, and no stream must show it. Prints a line for each request and a verdict; exits with 1 when any fails.
 *
 * Installs 6.5 GB and starts engines that take minutes, so it is no part of the tests.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { eventually } from '@tsukimi/base/testing';
import { type Answer, ask } from '../../e2e/client.ts';
import { freePorts, Processes } from '../../e2e/processes.ts';
import { installVllm, release } from './install.ts';
import { blockSize, VllmInstance } from './instance.ts';
import { flawOf, type Question, questions } from './questions.ts';
import { longStreams, resumeStreams } from './resume.ts';
import { adminApiKey, type Connector, type Scene, startScene, type World } from './scenes.ts';

const connectors = ['store', 'nixl'] as const;
const known = [...connectors, 'resume'] as const;
const requestCount = 20;
/** The engine counts a little after it has answered. */
const metricWithinMs = 5_000;

const print = (line: string) => process.stdout.write(`${line}\n`);
const send = ({ path, body }: Question, url: string) => ask(url, body, { path });

/**
 * What decode can get: of a store the full blocks before the last token, which it has to compute; by NIXL the
 * whole prompt, with the block that is not full.
 */
function offeredTokens(connector: Connector, { usage }: Answer): number {
  const promptTokens = usage?.prompt_tokens ?? 1;
  if (connector === 'nixl') return promptTokens;
  return Math.floor((promptTokens - 1) / blockSize) * blockSize;
}

/** How far the metric has moved, once it shows what it should; what it shows at last otherwise. */
async function externalTokens(
  decode: VllmInstance,
  before: number,
  expected: number,
): Promise<number> {
  let moved = 0;
  const check = async () => {
    moved = (await decode.externalTokenCount()) - before;
    return moved >= expected;
  };
  await eventually(check, 'the metric', metricWithinMs).catch(() => {});
  return moved;
}

/** One after the other, each judged by itself. The number of good ones. */
async function inTurn(scene: Scene, name: Connector, all: readonly Question[], lone: Answer[]) {
  const decode = scene.decodes[0] as VllmInstance;
  let goodCount = 0;
  for (const [at, question] of all.entries()) {
    const before = await decode.externalTokenCount();
    const startMs = performance.now();
    const answer = await send(question, scene.proxyUrl);
    const tookMs = Math.round(performance.now() - startMs);
    const expected = offeredTokens(name, lone[at] as Answer);
    const external = await externalTokens(decode, before, expected);
    const flaw = flawOf(answer, lone[at] as Answer);
    const isGood = flaw === null && external === expected;
    if (isGood) goodCount += 1;
    print(
      `${name} ${String(at + 1).padStart(2)} ${question.name.padEnd(17)} prompt ${lone[at]?.usage?.prompt_tokens} external ${external}/${expected} ${tookMs} ms ${flaw ?? 'same answer'} ${isGood ? 'ok' : 'FAILED'}`,
    );
  }
  return goodCount;
}

/** All at once, judged by their sum. */
async function atOnce(scene: Scene, name: Connector, all: readonly Question[], lone: Answer[]) {
  const decode = scene.decodes[0] as VllmInstance;
  const before = await decode.externalTokenCount();
  const answers = await Promise.all(all.map((question) => send(question, scene.proxyUrl)));
  const flaws = answers.filter((answer, at) => flawOf(answer, lone[at] as Answer) !== null).length;
  const expected = lone.reduce((sum, answer) => sum + offeredTokens(name, answer), 0);
  const external = await externalTokens(decode, before, expected);
  const isGood = flaws === 0 && external === expected;
  print(
    `${name} ${all.length} at once: external ${external}/${expected}, ${flaws} other answers ${isGood ? 'ok' : 'FAILED'}`,
  );
  return isGood;
}

/** A prefill instance that has just joined holds nothing, as far as the proxy knows; the store has it all the same. */
async function afterJoining({ proxyUrl, prefill }: Scene, question: Question, lone: Answer) {
  for (const path of ['remove', 'add']) {
    const response = await fetch(`${proxyUrl}/instances/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': adminApiKey },
      body: JSON.stringify({ type: 'prefill', instance: prefill.address }),
    });
    if (!response.ok) throw new Error(`/instances/${path}: ${await response.text()}`);
  }
  const flaw = flawOf(await send(question, proxyUrl), lone);
  const response = await fetch(`${proxyUrl}/status/decisions`);
  const { decisions } = (await response.json()) as { decisions: readonly Decision[] };
  const choice = decisions.find(({ leg }) => leg === 'prefill');
  const predicted = choice?.predicted_hit_tokens ?? 0;
  const isGood = flaw === null && choice?.reason === 'stored_prefix' && predicted > 0;
  print(
    `store, asked before the choice: ${choice?.reason}, ${predicted} of ${lone.usage?.prompt_tokens} tokens predicted, ${flaw ?? 'same answer'} ${isGood ? 'ok' : 'FAILED'}`,
  );
  return isGood;
}

interface Decision {
  readonly leg: string;
  readonly reason: string;
  readonly predicted_hit_tokens: number;
}

async function main(): Promise<boolean> {
  const args = process.argv.slice(2);
  const asks = (name: (typeof known)[number]) => args.length === 0 || args.includes(name);
  if (args.some((name) => !known.some((one) => one === name))) {
    print(`usage: npm run interop:vllm [-- ${known.join(' | ')}]`);
    return false;
  }
  await using processes = new Processes();
  const python = installVllm();
  const model = `${processes.directory}/tiny-qwen2`;
  execFileSync(python, [fileURLToPath(new URL('make-model.py', import.meta.url)), model], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const world: World = { processes, python, model };
  const streams = asks('resume') ? longStreams(model) : [];
  const rounds = connectors.filter(asks).map((connector, at) => ({
    connector,
    inTurn: questions(model, 2 * at, requestCount),
    atOnce: questions(model, 2 * at + 1, requestCount),
  }));
  const lone = new Map<Question, Answer>();
  {
    await using instance = VllmInstance.launch(processes, {
      ...world,
      ...{ label: 'lone', port: await freePorts(1), transfer: null },
    });
    await instance.ready();
    const all = rounds.flatMap((round) => [...round.inTurn, ...round.atOnce]);
    for (const question of [...all, ...streams.flat()]) {
      const answer = await send(question, instance.url);
      if (answer.failure !== null) throw new Error(`the lone instance: ${answer.failure}`);
      lone.set(question, answer);
    }
  }
  const answersOf = (all: readonly Question[]) => all.map((one) => lone.get(one) as Answer);
  let isGood = true;
  for (const round of rounds) {
    await using scene = await startScene(round.connector, world);
    const count = await inTurn(scene, round.connector, round.inTurn, answersOf(round.inTurn));
    const together = await atOnce(scene, round.connector, round.atOnce, answersOf(round.atOnce));
    const last = round.inTurn.at(-1) as Question;
    const joined =
      round.connector !== 'store' || (await afterJoining(scene, last, lone.get(last) as Answer));
    const verdict = count === requestCount && together && joined ? 'ok' : 'FAILED';
    print(
      `${round.connector}: vLLM ${release}, all full blocks from outside and the same answer in ${count} of ${requestCount} requests: ${verdict}`,
    );
    isGood &&= verdict === 'ok';
  }
  if (streams.length > 0) {
    const isWhole = await resumeStreams(world, streams, lone, print);
    print(
      `resume: vLLM ${release}, no stream shows that an instance was killed: ${isWhole ? 'ok' : 'FAILED'}`,
    );
    isGood &&= isWhole;
  }
  return isGood;
}

process.exitCode = (await main()) ? 0 : 1;
