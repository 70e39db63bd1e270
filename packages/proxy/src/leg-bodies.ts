import type { JsonMembers } from './json-members.ts';

/** What the proxy needs to know of a request before it is sent anywhere. */
export interface RequestTraits {
  readonly streams: boolean;
  /** One choice and nothing that only one instance can know: another one can continue it. */
  readonly resumable: boolean;
  /** The client itself wants to see token ids. */
  readonly wantsTokenIds: boolean;
  /** An estimate: four bytes make a token. */
  readonly promptTokenCount: number;
}

export function traitsOf(members: JsonMembers): RequestTraits {
  const single = (name: string) => {
    const value = members.scalar(name);
    return value === null || value === 1;
  };
  return {
    streams: members.scalar('stream') === true,
    resumable:
      single('n') &&
      single('best_of') &&
      !members.holdsSeveral('prompt') &&
      members.scalar('use_beam_search') !== true &&
      members.raw('tsukimi_resume') === null,
    wantsTokenIds: members.scalar('return_token_ids') === true,
    promptTokenCount: Math.ceil(members.byteCount / 4),
  };
}

/** Generation must not outlive its one token, nor be asked for more; what decides the prompt stays. */
const notForPrefill = [
  'stream_options',
  'min_tokens',
  'min_completion_tokens',
  'best_of',
  'use_beam_search',
  'return_token_ids',
];

/** `ours` adds the fields that only our own instances know. */
export function prefillBody(members: JsonMembers, ours: boolean): Buffer {
  const set: Record<string, string> = { max_tokens: '1', stream: 'false' };
  if (members.raw('max_completion_tokens') !== null) set['max_completion_tokens'] = '1';
  if (members.raw('n') !== null) set['n'] = '1';
  if (ours) set['tsukimi_handover'] = 'true';
  return members.patched({ set, delete: notForPrefill });
}

export interface DecodeExtras {
  /** What the prefill instance found in the store; null if it did not tell. */
  readonly prefillCachedTokenCount: number | null;
  readonly asksTokenIds: boolean;
  /** What the client has got of the answer; empty at the start. */
  readonly outputTokenIds: readonly number[];
}

/** `original` when there is nothing to add. */
export function decodeBody(
  members: JsonMembers,
  original: Buffer,
  extras: DecodeExtras | null,
): Buffer {
  if (extras === null) return original;
  const set: Record<string, string> = {};
  if (extras.asksTokenIds) set['return_token_ids'] = 'true';
  if (extras.prefillCachedTokenCount !== null) {
    set['tsukimi_prefill_cached_tokens'] = String(extras.prefillCachedTokenCount);
  }
  if (extras.outputTokenIds.length > 0) {
    set['tsukimi_resume'] = `{"output_token_ids":[${extras.outputTokenIds.join(',')}]}`;
  }
  return Object.keys(set).length === 0 ? original : members.patched({ set });
}

/** `usage.prompt_tokens_details.cached_tokens` of a prefill instance's answer; null when not told. */
export function cachedTokenCountIn(answer: Buffer): number | null {
  const name = '"cached_tokens":';
  const at = answer.lastIndexOf(name);
  if (at < 1) return null;
  // An unescaped quote after a comma or brace is no part of a text.
  if (answer[at - 1] !== 0x2c && answer[at - 1] !== 0x7b) return null;
  const digits = /^ ?(\d{1,9})/.exec(
    answer.toString('latin1', at + name.length, at + name.length + 12),
  )?.[1];
  return digits === undefined ? null : Number(digits);
}
