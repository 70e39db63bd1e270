import type { Answer } from '../../e2e/client.ts';

/** Requests that have no block in common, so that nothing but the hand-over brings KV to the decode instance. */
export interface Question {
  readonly name: string;
  readonly path: '/v1/completions' | '/v1/chat/completions';
  readonly body: Readonly<Record<string, unknown>>;
}

const words = 'moon lake light rises over keeps water stone wind night boat shore'.split(' ');
const wordCounts = [60, 120, 240, 400, 560];
const shapes = ['completion', 'completion stream', 'chat', 'chat stream'] as const;

/** `run` sets those of one run apart from those of another. */
export function questions(model: string, run: number, count: number): Question[] {
  return Array.from({ length: count }, (_, at): Question => {
    const shape = shapes[at % shapes.length] as (typeof shapes)[number];
    const text = prose(run * 1_000 + at, wordCounts[at % wordCounts.length] as number);
    const isChat = shape.startsWith('chat');
    return {
      name: shape,
      path: isChat ? '/v1/chat/completions' : '/v1/completions',
      body: {
        model,
        ...(isChat ? { messages: [{ role: 'user', content: text }] } : { prompt: text }),
        ...{ max_tokens: 16, temperature: 0, ignore_eos: true, return_token_ids: true },
        ...(shape.endsWith('stream')
          ? { stream: true, stream_options: { include_usage: true } }
          : {}),
      },
    };
  });
}

/** What is not as in the answer of an instance that does all by itself. */
export function flawOf(answer: Answer, lone: Answer): string | null {
  if (answer.failure !== null) return `status ${answer.status}: ${answer.failure}`;
  if (answer.text !== lone.text) {
    let at = 0;
    while (answer.text.charAt(at) === lone.text.charAt(at)) at += 1;
    return `another text than a lone instance, from character ${at} on`;
  }
  if (answer.tokenIds.join() !== lone.tokenIds.join()) return 'other tokens than a lone instance';
  if (answer.finishReason !== lone.finishReason) return `finish reason ${answer.finishReason}`;
  if (answer.usage?.prompt_tokens !== lone.usage?.prompt_tokens) return 'another length of prompt';
  if (answer.usage?.completion_tokens !== lone.usage?.completion_tokens) return 'another length';
  return (answer.usage?.completion_tokens ?? 0) > 0 ? null : 'no tokens';
}

/** Words that follow from the seed, a number with the first of them. */
function prose(seed: number, wordCount: number): string {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return words[state % words.length];
  };
  return `${seed} ${Array.from({ length: wordCount }, next).join(' ')}`;
}
