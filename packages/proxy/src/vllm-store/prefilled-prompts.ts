import type { PoolInstance } from '../core/pool-instance.ts';
import type { JsonMembers } from '../json-members.ts';
import type { HashExtras } from './block-hash.ts';

/** What a prefill instance has just computed. */
export interface PrefilledPrompts {
  /** One list for each prompt of the request. */
  readonly tokenIds: readonly (readonly number[])[];
  readonly extras: HashExtras;
}

/** Contents whose own hashes go into those of the blocks, and which only the engine can compute. */
const hashedContents = ['image_url', 'video_url', 'audio_url', 'input_audio', 'image_embeds'];

/** Null where the hashes of the prompt's blocks cannot be known. */
export function prefilledPrompts(
  tokenIds: readonly (readonly number[])[],
  members: JsonMembers,
  instance: PoolInstance,
): PrefilledPrompts | null {
  if (tokenIds.length === 0 || members.raw('prompt_embeds') !== null || holdsHashed(members)) {
    return null;
  }
  const cacheSalt = members.scalar('cache_salt');
  return {
    tokenIds,
    extras: {
      lora: loraOf(members.scalar('model'), instance),
      cacheSalt: typeof cacheSalt === 'string' ? cacheSalt : null,
    },
  };
}

function holdsHashed(members: JsonMembers): boolean {
  const messages = members.raw('messages');
  return messages !== null && hashedContents.some((name) => messages.includes(`"${name}"`));
}

/** An adapter is a model whose entry in `/v1/models` has a parent; its path is the entry's root. */
function loraOf(model: unknown, { identity }: PoolInstance): HashExtras['lora'] {
  for (const one of identity?.models ?? []) {
    const { id, parent, root } = one as { id?: unknown; parent?: unknown; root?: unknown };
    if (id !== model || typeof parent !== 'string') continue;
    return typeof id === 'string' && typeof root === 'string' ? { name: id, path: root } : null;
  }
  return null;
}
