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
  while (end > 0) {
    const before = events.lastIndexOf('\n\n', end - 3);
    const start = before < 0 ? 0 : before + 2;
    if (!isTextless(events.slice(start, end))) break;
    end = start;
  }
  return end;
}

/** The engine does not tell the tokens of some text. */
export function hidesTokens(events: string): boolean {
  return !events.includes(tokens) && text.test(events);
}

/**
 * Text of the last event with tokens, if it has several and so may end before the last one; '' if it has
 * one; null: no event has any.
 */
export function unsureText(events: string): string | null {
  const at = events.lastIndexOf(tokens);
  if (at < 0) return null;
  if (!events.slice(at, events.indexOf(']', at)).includes(',')) return '';
  const before = events.lastIndexOf('\n\n', at);
  return text.exec(events.slice(before < 0 ? 0 : before))?.[1] ?? '';
}

/**
 * Whether the first text in `events` repeats that of `tokenCount` tokens, whose last text was `lastText`. As
 * Latin-1, a token has at least one character, but for a few that have none.
 */
export function repeatsText(events: string, tokenCount: number, lastText: string): boolean {
  const first = text.exec(events)?.[1] ?? '';
  return first.length >= 0.75 * tokenCount && first.includes(lastText, 1);
}

function isTextless(event: string): boolean {
  return noTexts.some((noText) => event.includes(noText)) && hasTokens(event) && !text.test(event);
}

function hasTokens(event: string): boolean {
  const at = event.indexOf(tokens);
  return at >= 0 && event.charAt(at + tokens.length) !== ']';
}
