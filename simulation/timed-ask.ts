import { performance } from 'node:perf_hooks';
import { ask } from '../e2e/client.ts';

export interface Timed {
  /** From sending to the first token. */
  readonly firstTokenMs: number;
  readonly lastTokenMs: number;
  /** Of every piece that came, by rising time. Tokens without a whole character come with the next one. */
  readonly pieceMs: readonly number[];
}

/** A greedy stream of exactly `outputTokens`. Throws when the answer is not whole. */
export async function timedAsk(
  url: string,
  model: string,
  prompt: readonly number[],
  outputTokens: number,
): Promise<Timed> {
  const startMs = performance.now();
  const times: number[] = [];
  const answer = await ask(
    url,
    {
      ...{ model, prompt, max_tokens: outputTokens, temperature: 0 },
      ...{ ignore_eos: true, stream: true },
    },
    { onEvent: () => times.push(performance.now() - startMs) },
  );
  if (answer.failure !== null) throw new Error(`${url}: ${answer.failure}`);
  // The last event tells the usage.
  const pieceMs = times.slice(0, -1);
  const firstTokenMs = pieceMs[0];
  if (answer.usage?.completion_tokens !== outputTokens || firstTokenMs === undefined) {
    throw new Error(`${url}: ${answer.usage?.completion_tokens} tokens came of ${outputTokens}`);
  }
  return { firstTokenMs, lastTokenMs: pieceMs.at(-1) ?? firstTokenMs, pieceMs };
}

/** The tokens of a trace's block: the same for the same id, none of them special. */
export function tokensOfBlock(id: number, count: number): number[] {
  return Array.from(
    { length: count },
    (_, at) => 300 + ((id * 7_919 + at * 31 + ((id * at) % 97)) % 1_500),
  );
}
