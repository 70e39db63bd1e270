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

const unsureLengthMax = 64;

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
  for (let start = 0; start < events.length; ) {
    const end = events.indexOf('\n\n', start);
    const event = end < 0 ? events.slice(start) : events.slice(start, end);
    if (!event.includes(tokens) && text.test(event)) return true;
    start += event.length + 2;
  }
  return false;
}

/**
 * Text of the last events, as far back as each has several tokens and so may end before the last one; with
 * `before`, what that was so far, where all are so. At most 64 characters: no other text ends so by chance.
 */
export function unsureText(events: string, before: string): string {
  let unsure = '';
  for (let end = events.length; end > 0; ) {
    const boundary = events.lastIndexOf('\n\n', end - 3);
    const start = boundary < 0 ? 0 : boundary + 2;
    const event = events.slice(start, end);
    const at = event.indexOf(tokens);
    if (at >= 0) {
      if (!event.slice(at, event.indexOf(']', at)).includes(',')) return unsure;
      unsure = (text.exec(event)?.[1] ?? '') + unsure;
      if (unsure.length >= unsureLengthMax) return unsure.slice(-unsureLengthMax);
    }
    end = start;
  }
  return (before + unsure).slice(-unsureLengthMax);
}

/**
 * Whether the first text in `events` repeats that of `tokenCount` tokens, whose text ends with `lastText`. As
 * Latin-1, a token has at least one character, but for a few that have none. A text of a few characters
 * is taken for what goes on, which it mostly is.
 */
export function repeatsText(events: string, tokenCount: number, lastText: string): boolean {
  const first = text.exec(events)?.[1] ?? '';
  return first.length >= Math.max(16, 0.75 * tokenCount) && first.includes(lastText, 1);
}

function isTextless(event: string): boolean {
  return noTexts.some((noText) => event.includes(noText)) && hasTokens(event) && !text.test(event);
}

function hasTokens(event: string): boolean {
  const at = event.indexOf(tokens);
  return at >= 0 && event.charAt(at + tokens.length) !== ']';
}
