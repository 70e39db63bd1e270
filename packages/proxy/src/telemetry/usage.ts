/** As completions name them, then responses and messages. */
const cachedNames = ['"cached_tokens":', '"cache_read_input_tokens":'] as const;
const outputNames = ['"completion_tokens":', '"output_tokens":'] as const;

/** What the end of an answer tells of its tokens; null for what it does not. */
export interface Usage {
  readonly cachedTokenCount: number | null;
  readonly outputTokenCount: number | null;
}

/** Finds `usage` without parsing: a pattern with unescaped quotes is inside no JSON string. */
export function usageIn(answer: Buffer | string): Usage {
  return {
    cachedTokenCount: numberAfter(answer, cachedNames),
    outputTokenCount: numberAfter(answer, outputNames),
  };
}

function numberAfter(answer: Buffer | string, names: readonly string[]): number | null {
  for (const name of names) {
    const at = answer.lastIndexOf(name);
    if (at < 0) continue;
    const from = at + name.length;
    const text =
      typeof answer === 'string'
        ? answer.slice(from, from + 17)
        : answer.toString('latin1', from, from + 17);
    const digits = /^ ?(\d{1,15})(?!\d)/.exec(text)?.[1];
    if (digits !== undefined) return Number(digits);
  }
  return null;
}
