import type { JsonMembers } from './json-members.ts';

/** With these, a prompt that ends in what was said already would not be gone on with as before. */
const boundToOutput = new Set([
  ...['stop', 'min_tokens', 'echo', 'suffix', 'logprobs', 'top_logprobs', 'prompt_logprobs'],
  ...['presence_penalty', 'frequency_penalty', 'repetition_penalty'],
  ...['tools', 'functions', 'response_format', 'structured_outputs', 'truncate_prompt_tokens'],
  ...['guided_json', 'guided_regex', 'guided_choice', 'guided_grammar', 'prompt_embeds'],
  ...['bad_words', 'repetition_detection', 'thinking_token_budget', 'return_token_offsets'],
  'return_prompt_text',
]);

/** Of text in a JSON body, as an estimate. */
export const bytesPerToken = 4;

/** What the proxy needs to know of a request before it is sent anywhere. */
export interface RequestTraits {
  readonly streams: boolean;
  /** One choice and nothing that only one instance can know: another one can continue it. */
  readonly resumable: boolean;
  /** As `resumable`, where another engine gets prompt and output so far as a prompt of token ids. */
  readonly resumableByIds: boolean;
  /** The client itself wants to see token ids. */
  readonly wantsTokenIds: boolean;
  /** An estimate: four bytes make a token. */
  readonly promptTokenCount: number;
}

export function traitsOf(members: JsonMembers, path: string): RequestTraits {
  const single = (name: string) => {
    const value = members.scalar(name);
    return value === null || value === 1;
  };
  const streams = members.scalar('stream') === true;
  const resumable =
    path.endsWith('/completions') &&
    single('n') &&
    single('best_of') &&
    (members.textCount('prompt') ?? 1) === 1 &&
    members.scalar('use_beam_search') !== true &&
    members.raw('tsukimi_resume') === null;
  return {
    streams,
    resumable,
    resumableByIds: streams && resumable && isFreeOfOutput(members),
    wantsTokenIds: members.scalar('return_token_ids') === true,
    promptTokenCount: Math.ceil(members.bytes.length / bytesPerToken),
  };
}

/** The draws of a seeded sample begin anew with a new request: only what is not drawn stays the same. */
function isFreeOfOutput(members: JsonMembers): boolean {
  const drawn = members.scalar('seed') !== null && members.scalar('temperature') !== 0;
  return !drawn && !members.asksForAny(boundToOutput);
}
