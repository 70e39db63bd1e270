import { readFileSync } from 'node:fs';

const banks = ['documents', 'words', 'plots_a', 'plots_b', 'facts', 'cities'].map((name) =>
  readFileSync(new URL(`../models/corpus/banks/${name}.txt`, import.meta.url), 'utf8'),
);

/** All tokens of a long text, from an instance's own tokenizer. */
export async function corpusTokens(instanceUrl: string): Promise<number[]> {
  const tokens: number[] = [];
  for (const prompt of banks) {
    const answer = await fetch(`${instanceUrl}/tokenize`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt }),
    });
    if (!answer.ok) throw new Error(`tokenize: ${await answer.text()}`);
    tokens.push(...((await answer.json()) as { tokens: number[] }).tokens);
  }
  return tokens;
}

/** `count` prompts of token ids, their lengths spread evenly over [from, to], no two with a common start. */
export function cutPrompts(
  corpus: readonly number[],
  { count, from, to }: { count: number; from: number; to: number },
): number[][] {
  const step = Math.floor((corpus.length - to) / count);
  if (step < 1) throw new Error('the corpus is too short');
  return Array.from({ length: count }, (_, index) => {
    const length = Math.round(from + ((to - from) * index) / Math.max(1, count - 1));
    return corpus.slice(index * step, index * step + length);
  });
}

/** Runs `act` for every item, `width` at a time, and keeps the order of the results. */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  width: number,
  act: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await act(items[index] as T, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}
