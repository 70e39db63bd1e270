/**
 * Where the text of a stream's tokens stands. Engines hold a character back until the last of its tokens has
 * come. vLLM, given a prompt that ends within a character, repeats the text of the whole prompt with its
 * first answer (`DecodeStream` of Hugging Face's tokenizers finds no text to go on from). So a stream may be
 * gone on with only behind a token that has its text.
 */

const tokens = '"token_ids":[';
const text = /"(?:text|content|reasoning|reasoning_content)":"((?:[^"\\]|\\.)+)"/;
/** What an event without text has instead. */
const noTexts = ['"text":""', '"content":""', '"delta":{}'] as const;

/** Length of `events` without those at its end that have tokens and no text. */
export function lengthWithText(events: string): number {
  let end = events.length;
  while (end > 0 && noTexts.some((noText) => events.includes(noText))) {
    const before = events.lastIndexOf('\n\n', end - 3);
    const start = before < 0 ? 0 : before + 2;
    const event = events.slice(start, end);
    if (!hasTokens(event) || text.test(event)) break;
    end = start;
  }
  return end;
}

/** The engine does not tell the tokens of some text. */
export function hidesTokens(events: string): boolean {
  return !events.includes(tokens) && text.test(events);
}

/** Whether the last event with tokens has several, so that its text may end before the last one; null: none has any. */
export function endsInSeveralTokens(events: string): boolean | null {
  const at = events.lastIndexOf(tokens);
  if (at < 0) return null;
  return events.slice(at, events.indexOf(']', at)).includes(',');
}

/**
 * Whether the first text in `events` is as long as that of `tokenCount` tokens, and so repeats them. As
 * Latin-1, a token has at least one character, but for a few that have none.
 */
export function repeatsText(events: string, tokenCount: number): boolean {
  const length = text.exec(events)?.[1]?.length ?? 0;
  return length >= 16 && length >= 0.75 * tokenCount;
}

function hasTokens(event: string): boolean {
  const at = event.indexOf(tokens);
  return at >= 0 && event.charAt(at + tokens.length) !== ']';
}
