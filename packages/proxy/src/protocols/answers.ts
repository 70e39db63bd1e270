import type { JsonMembers } from '../json-members.ts';

/** `usage.prompt_tokens_details.cached_tokens` of a whole answer; null when not told. */
export function cachedTokenCountIn(answer: Buffer): number | null {
  const name = '"cached_tokens":';
  const at = answer.lastIndexOf(name);
  if (at < 1) return null;
  // An unescaped quote after a comma, a brace or a space is no part of a text.
  const before = answer[at - 1];
  if (before !== 0x2c && before !== 0x7b && before !== 0x20) return null;
  const digits = /^ ?(\d{1,9})/.exec(
    answer.toString('latin1', at + name.length, at + name.length + 12),
  )?.[1];
  return digits === undefined ? null : Number(digits);
}

/** What an instance of ours tells when it is asked for the keys of a prompt's chunks; else empty. */
export function chunkKeysIn(answer: Buffer): readonly string[] {
  const name = '"tsukimi_chunk_keys":[';
  // Behind the text of the answer, in which no quote is unescaped.
  const at = answer.lastIndexOf(name);
  if (at < 1 || answer[at - 1] !== 0x2c) return [];
  const list = answer.toString('latin1', at + name.length, answer.indexOf(']', at));
  return list.match(/tsukimi\/[\w/]+/g) ?? [];
}

/** Whether the answer ended because it had the length asked for, in any of the APIs. */
export function endedByLength(answer: JsonMembers): boolean {
  const choices = answer.raw('choices');
  if (choices !== null) return /"finish_reason": ?"length"/.test(choices.toString('latin1'));
  return answer.scalar('stop_reason') === 'max_tokens' || answer.scalar('status') === 'incomplete';
}
