import { eventually } from '@tsukimi/base/testing';
import { type Answer, ask } from '../../e2e/client.ts';
import type { VllmInstance } from './instance.ts';
import { flawOf, type Question } from './questions.ts';
import { startScene, type World } from './scenes.ts';

/** So many streams of each kind at once, long enough that an instance dies in the middle of them. */
const streamCount = 4;
const tokenCount = 300;
/** Of every stream, before the instance is killed. */
const eventCountBefore = 30;

/** Long greedy streams, of completions and of chats; every other client wants to see token ids. */
export function longStreams(model: string): Question[][] {
  const limits = { max_tokens: tokenCount, temperature: 0, ignore_eos: true };
  const one = (at: number, isChat: boolean): Question => {
    const text = `${at} the moon rises over the lake, says number ${at * 7}`;
    return {
      name: isChat ? 'chat stream' : 'completion stream',
      path: isChat ? '/v1/chat/completions' : '/v1/completions',
      body: {
        ...{ model, ...limits, stream: true },
        ...(isChat ? { messages: [{ role: 'user', content: text }] } : { prompt: text }),
        ...(at % 2 === 0 ? {} : { return_token_ids: true }),
      },
    };
  };
  return [false, true].map((isChat) =>
    Array.from({ length: streamCount }, (_, at) => one(at, isChat)),
  );
}

/**
 * Streams go on where an instance is killed in the middle of them: the first ones on the other decode
 * instance, and the second ones, for which that one is killed as well, on the prefill instance. Whether each is as a
 * lone instance's.
 */
export async function resumeStreams(
  world: World,
  rounds: readonly (readonly Question[])[],
  lone: ReadonlyMap<Question, Answer>,
  print: (line: string) => void,
): Promise<boolean> {
  await using scene = await startScene('nixl', world, rounds.length);
  let isGood = true;
  for (const [at, questions] of rounds.entries()) {
    const before = await resumedCount(scene.proxyUrl);
    const victim = scene.decodes[at] as VllmInstance;
    const answers = await killedMeanwhile(questions, scene.proxyUrl, victim);
    const resumed = (await resumedCount(scene.proxyUrl)) - before;
    for (const [index, question] of questions.entries()) {
      const flaw = flawOf(answers[index] as Answer, lone.get(question) as Answer);
      isGood &&= flaw === null;
      print(`resume ${question.name.padEnd(17)} ${flaw ?? 'same answer'}`);
    }
    isGood &&= resumed > 0;
    print(`resume ${questions[0]?.name}: ${resumed} of ${questions.length} went on elsewhere`);
  }
  return isGood;
}

async function killedMeanwhile(
  questions: readonly Question[],
  url: string,
  victim: VllmInstance,
): Promise<Answer[]> {
  const eventCounts = questions.map(() => 0);
  const asked = questions.map(({ path, body }, at) =>
    ask(url, body, { path, onEvent: (index) => (eventCounts[at] = index + 1) }),
  );
  const over = Promise.all(asked);
  await eventually(
    () => eventCounts.every((count) => count >= eventCountBefore),
    'every stream to be under way',
    60_000,
  );
  victim.kill();
  return over;
}

async function resumedCount(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^tsukimi_proxy_resumed_streams_total (\d+)$/m.exec(metrics)?.[1] ?? 0);
}
