import { readFileSync } from 'node:fs';
import { below, Fault, type Random } from '@tsukimi/base';
import { z } from 'zod';

/** One request of a trace. */
export interface TraceRequest {
  readonly atMs: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** One id for each block of the prompt, the last one not always whole. Equal ids: equal text up to there. */
  readonly blocks: readonly number[];
}

export interface Trace {
  readonly name: string;
  readonly blockTokens: number;
  /** By rising time. */
  readonly requests: readonly TraceRequest[];
}

/** Of the traces in Mooncake's FAST '25 release. */
const mooncakeBlockTokens = 512;

const count = z.number().int().nonnegative();
const lineSchema = z.object({
  timestamp: z.number().nonnegative(),
  input_length: count.min(1),
  output_length: count,
  hash_ids: z.array(count),
});

/**
 * A trace in Mooncake's form, a JSON object on each line: `timestamp` in ms, `input_length` and
 * `output_length` in tokens, `hash_ids` for each 512 tokens of the prompt. Throws `INVALID_ARGUMENT`
 * with the number of the line.
 */
export function readTrace(path: string): Trace {
  const requests: TraceRequest[] = [];
  const refuse = (at: number, reason: string): never => {
    throw new Fault('INVALID_ARGUMENT', `--trace: ${path}, line ${at + 1}: ${reason}`);
  };
  for (const [at, line] of readFileSync(path, 'utf8').split('\n').entries()) {
    if (line.trim() === '') continue;
    let content: unknown;
    try {
      content = JSON.parse(line);
    } catch (error) {
      refuse(at, (error as Error).message);
    }
    const parsed = lineSchema.safeParse(content);
    if (!parsed.success) {
      return refuse(
        at,
        parsed.error.issues
          .map(({ path: keys, message }) => `${keys.join('.')}: ${message}`)
          .join('; '),
      );
    }
    const { timestamp, input_length, output_length, hash_ids } = parsed.data;
    if (hash_ids.length !== Math.ceil(input_length / mooncakeBlockTokens)) {
      refuse(
        at,
        `${hash_ids.length} blocks of ${mooncakeBlockTokens} are not ${input_length} tokens`,
      );
    }
    requests.push({
      atMs: timestamp,
      inputTokens: input_length,
      // A request without output has ended with the token that ended it.
      outputTokens: Math.max(1, output_length),
      blocks: hash_ids,
    });
  }
  if (requests.length === 0) refuse(0, 'there are no requests');
  requests.sort((one, other) => one.atMs - other.atMs);
  const name = (path.split('/').at(-1) as string).replace(/\.jsonl$/, '');
  return { name, blockTokens: mooncakeBlockTokens, requests };
}

/**
 * The parts of all blocks, and of all tokens, that some request before had: no cache of prefixes can hit
 * more often.
 */
export function seenBefore({ requests, blockTokens }: Trace): { blocks: number; tokens: number } {
  const seen = new Set<number>();
  const all = { blocks: 0, tokens: 0 };
  const again = { blocks: 0, tokens: 0 };
  for (const { blocks, inputTokens } of requests) {
    for (const [at, block] of blocks.entries()) {
      const tokens = Math.min(blockTokens, inputTokens - at * blockTokens);
      for (const sum of seen.has(block) ? [all, again] : [all]) {
        sum.blocks += 1;
        sum.tokens += tokens;
      }
      seen.add(block);
    }
  }
  return { blocks: again.blocks / all.blocks, tokens: again.tokens / all.tokens };
}

/**
 * The same requests in the same order within `spanMs`. Those with one timestamp (a trace may have it
 * in steps of 3 s) are spread evenly, by chance, until the next one.
 */
export function stretched(trace: Trace, spanMs: number, random: Random): Trace {
  const { requests } = trace;
  const times = [...new Set(requests.map(({ atMs }) => atMs))];
  const first = times[0] as number;
  const meanStepMs = ((times.at(-1) as number) - first) / Math.max(1, times.length - 1);
  const endMs = (times.at(-1) as number) + (meanStepMs === 0 ? 1 : meanStepMs);
  const nextOf = new Map(times.map((atMs, index) => [atMs, times[index + 1] ?? endMs]));
  const factor = spanMs / (endMs - first);
  const steps = 2 ** 20;
  const moved = requests.map((request) => {
    const until = nextOf.get(request.atMs) as number;
    const offset = ((until - request.atMs) * below(random, steps)) / steps;
    return { ...request, atMs: (request.atMs - first + offset) * factor };
  });
  moved.sort((one, other) => one.atMs - other.atMs);
  return { ...trace, requests: moved };
}
