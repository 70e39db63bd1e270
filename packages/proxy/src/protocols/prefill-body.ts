import { JsonMembers } from '../json-members.ts';
import type { LegSource } from './protocol.ts';

export interface PrefillChanges {
  /** Raw JSON by member name. */
  readonly set?: Readonly<Record<string, string>>;
  /**
   * The one token must not end the answer as a stop would: some engines keep the prompt's KV only for
   * an answer that ended by its length.
   */
  readonly endsByLength?: boolean;
}

/** Generation must not outlive its one token, nor be asked for more; what decides the prompt stays. */
const notForPrefill = [
  'stream_options',
  'min_tokens',
  'min_completion_tokens',
  'best_of',
  'use_beam_search',
  'background',
  'return_token_ids',
];
const stops = ['stop', 'stop_token_ids', 'stop_sequences'];
const openBrace = 0x7b;
const emptyObject = Buffer.of(openBrace, 0x7d);

/** The request for one token in one piece. */
export function prefillBody(
  { path, members }: Pick<LegSource, 'path' | 'members'>,
  { set = {}, endsByLength = false }: PrefillChanges = {},
): Buffer {
  return members.patched({
    set: { ...oneToken(path, members, endsByLength), ...set },
    delete: endsByLength ? [...notForPrefill, ...stops] : notForPrefill,
  });
}

function oneToken(
  path: string,
  members: JsonMembers,
  endsByLength: boolean,
): Readonly<Record<string, string>> {
  const set: Record<string, string> = {};
  switch (path) {
    case '/inference/v1/generate':
      set['sampling_params'] = oneTokenSampling(members, 'max_tokens', endsByLength);
      break;
    case '/generate':
      set['sampling_params'] = oneTokenSampling(members, 'max_new_tokens', endsByLength);
      break;
    case '/v1/responses':
      set['max_output_tokens'] = '1';
      // Nobody will ask for this answer again.
      set['store'] = 'false';
      break;
    default:
      set['max_tokens'] = '1';
  }
  set['stream'] = 'false';
  if (members.raw('max_completion_tokens') !== null) set['max_completion_tokens'] = '1';
  if (members.raw('n') !== null) set['n'] = '1';
  // Only where vLLM's own addition to the API is known.
  if (endsByLength && path.endsWith('/completions')) set['ignore_eos'] = 'true';
  return set;
}

function oneTokenSampling(members: JsonMembers, limit: string, endsByLength: boolean): string {
  const given = members.raw('sampling_params');
  const set = { [limit]: '1', ...(endsByLength ? { ignore_eos: 'true' } : {}) };
  // What is no object the instance refuses in its own words.
  if (given !== null && given[0] !== openBrace) return given.toString('utf8');
  // Has been looked into before; see `withoutTransferParams`.
  const sampling = JsonMembers.parse(given ?? emptyObject);
  const dropped = ['min_tokens', 'min_new_tokens', 'n', 'best_of', ...(endsByLength ? stops : [])];
  return sampling.patched({ set, delete: dropped }).toString('utf8');
}
