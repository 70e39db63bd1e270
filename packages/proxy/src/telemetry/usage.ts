const cachedName = '"cached_tokens":';
const completionName = '"completion_tokens":';

/** What the end of an answer tells of its tokens; null for what it does not. */
export interface Usage {
  readonly cachedTokenCount: number | null;
  readonly outputTokenCount: number | null;
}

/** Finds OpenAI's `usage` without parsing: a pattern with unescaped quotes is inside no JSON string. */
export function usageIn(answer: Buffer | string): Usage {
  return {
    cachedTokenCount: numberAfter(answer, cachedName),
    outputTokenCount: numberAfter(answer, completionName),
  };
}

function numberAfter(answer: Buffer | string, name: string): number | null {
  const at = answer.lastIndexOf(name);
  if (at < 0) return null;
  const from = at + name.length;
  const text =
    typeof answer === 'string'
      ? answer.slice(from, from + 17)
      : answer.toString('latin1', from, from + 17);
  const digits = /^ ?(\d{1,15})(?!\d)/.exec(text)?.[1];
  return digits === undefined ? null : Number(digits);
}
