const name = '"prompt_token_ids":[';
const comma = 0x2c;
const openBrace = 0x7b;
const closeBracket = 0x5d;
const space = 0x20;
const zero = 0x30;

/** Longer than any prompt. */
const idCountMax = 4 * 2 ** 20;

/**
 * Each list of `prompt_token_ids` in a whole answer of vLLM to a request with `return_token_ids`: one for
 * each choice of `/v1/completions`, one for all of a chat. Empty where there is none.
 */
export function promptTokenIdsIn(answer: Buffer): number[][] {
  const lists: number[][] = [];
  for (let at = answer.indexOf(name); at >= 0; at = answer.indexOf(name, at + name.length)) {
    const before = answer[at - 1];
    // An unescaped quote after a comma or brace is no part of a text.
    if (before !== comma && before !== openBrace) continue;
    const list = readList(answer, at + name.length);
    if (list !== null && list.length > 0) lists.push(list);
  }
  return lists;
}

/** The whole numbers up to the bracket; null where anything else comes. */
function readList(answer: Buffer, from: number): number[] | null {
  const ids: number[] = [];
  let id = 0;
  let digitCount = 0;
  for (let at = from; at < answer.length; at += 1) {
    const byte = answer[at] as number;
    if (byte >= zero && byte <= zero + 9) {
      id = id * 10 + byte - zero;
      digitCount += 1;
      if (digitCount > 9) return null;
    } else if (byte === comma || byte === closeBracket) {
      if (digitCount > 0) ids.push(id);
      if (byte === closeBracket) return ids;
      if (digitCount === 0 || ids.length >= idCountMax) return null;
      id = 0;
      digitCount = 0;
    } else if (byte !== space) return null;
  }
  return null;
}
