import type { LegSource } from './protocol.ts';

/** Where engines tell token ids, and take a prompt of them. */
const completionPaths = { text: '/v1/completions', chat: '/v1/chat/completions' } as const;

/** What engines take for `max_tokens` of a completion that names none; null is as much as there is room for. */
const completionTokenCount = 16;

interface DecodeChanges {
  /** Raw JSON by member name. */
  readonly set?: Readonly<Record<string, string>>;
}

/**
 * The body for a decode instance that is not ours: the client's. Of a stream that others may continue, token
 * ids are asked for (vLLM's `return_token_ids`); one that continues it gets prompt and output so far as ids, and
 * the limit that is left.
 */
export function decodeBody(request: LegSource, { set = {} }: DecodeChanges = {}): Buffer {
  const { body, members } = request;
  const all = { ...continuing(request), ...set };
  return Object.keys(all).length === 0 ? body : members.patched({ set: all });
}

function continuing(request: LegSource): Record<string, string> {
  const { path, members, traits, promptTokenIds, outputTokenIds } = request;
  if (!traits.streams || !traits.resumableByIds || !isTold(path)) return {};
  const set: Record<string, string> = { return_token_ids: 'true' };
  if (outputTokenIds.length === 0) return set;
  const ids = `[${promptTokenIds.join(',')},${outputTokenIds.join(',')}]`;
  const left = (limit: number) => String(Math.max(1, limit - outputTokenIds.length));
  if (path === completionPaths.text) {
    set['prompt'] = ids;
    if (members.raw('max_tokens') === null) set['max_tokens'] = left(completionTokenCount);
  } else set['kv_transfer_params'] = `{"prompt_token_ids":${ids}}`;
  for (const name of ['max_tokens', 'max_completion_tokens']) {
    const limit = members.scalar(name);
    if (typeof limit === 'number') set[name] = left(limit);
  }
  return set;
}

function isTold(path: string): boolean {
  return path === completionPaths.text || path === completionPaths.chat;
}
