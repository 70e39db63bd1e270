import type { JsonMembers } from '../json-members.ts';

/** Generation must not outlive its one token, nor be asked for more; what decides the prompt stays. */
const notForPrefill = [
  'stream_options',
  'min_tokens',
  'min_completion_tokens',
  'best_of',
  'use_beam_search',
  'return_token_ids',
];

/** The request for one token in one piece; `extras` is raw JSON by member name. */
export function prefillBody(
  members: JsonMembers,
  extras: Readonly<Record<string, string>> = {},
): Buffer {
  const set: Record<string, string> = { max_tokens: '1', stream: 'false' };
  if (members.raw('max_completion_tokens') !== null) set['max_completion_tokens'] = '1';
  if (members.raw('n') !== null) set['n'] = '1';
  return members.patched({ set: { ...set, ...extras }, delete: notForPrefill });
}
