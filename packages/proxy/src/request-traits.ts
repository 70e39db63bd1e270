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
      (members.textCount('prompt') ?? 1) === 1 &&
      members.scalar('use_beam_search') !== true &&
      members.raw('tsukimi_resume') === null,
    wantsTokenIds: members.scalar('return_token_ids') === true,
    promptTokenCount: Math.ceil(members.byteCount / 4),
  };
}
