import type { ServerRequest } from '@tsukimi/http';
import { blockByteCount, blockHashes } from './core/block-hashes.ts';
import type { InstancePool } from './core/instance-pool.ts';
import { noFacts, type RequestFacts } from './core/policies/policy.ts';
import type { JsonMembers } from './json-members.ts';
import { bytesPerToken, type RequestTraits } from './request-traits.ts';

/** What an answer is taken to have: limits are often far above what comes. */
const outputTokenCountMax = 256;

/**
 * What the prompt's tokens are made of, in the order in which engines put it together. KV is not shared
 * between models (adapters have names of their own) and salts, so these come first.
 */
const promptMembers = [
  ...['model', 'cache_salt', 'tools', 'functions', 'instructions', 'system'],
  ...['messages', 'prompt', 'input'],
] as const;

/** Where clients name what belongs together; the first that is there counts. */
const sessionHeaders = ['x-session-id', 'x-user-id'] as const;
const sessionMembers = ['session_id', 'prompt_cache_key', 'user'] as const;
const sessionKeyLengthMax = 256;

/** `storedTokenCount` is found out later, if anybody asks. */
export type KnownFacts = RequestFacts & { storedTokenCount: number };

/** What policies get to know of a request; costs only what they read. */
export function requestFacts(
  members: JsonMembers,
  traits: RequestTraits,
  headers: ServerRequest['headers'],
  pool: Pick<InstancePool, 'reads'>,
): KnownFacts {
  const limit = members.scalar('max_completion_tokens') ?? members.scalar('max_tokens');
  return {
    ...noFacts,
    promptTokenCount: traits.promptTokenCount,
    outputTokenCount:
      typeof limit === 'number' && limit >= 0 && limit < outputTokenCountMax
        ? limit
        : outputTokenCountMax,
    sessionKey: pool.reads('session') ? sessionKeyOf(members, headers) : null,
    blockHashes: pool.reads('prefix') ? promptHashes(members) : noFacts.blockHashes,
    blockTokenCount: blockByteCount / bytesPerToken,
  };
}

function promptHashes(members: JsonMembers): number[] {
  const parts: Buffer[] = [];
  for (const name of promptMembers) {
    const part = members.raw(name);
    if (part !== null) parts.push(part);
  }
  return blockHashes(parts);
}

function sessionKeyOf(members: JsonMembers, headers: ServerRequest['headers']): string | null {
  for (const name of sessionHeaders) {
    const value = headers[name];
    if (typeof value === 'string' && value !== '') return value.slice(0, sessionKeyLengthMax);
  }
  for (const name of sessionMembers) {
    const value = members.scalar(name);
    if (value !== null && value !== '') return String(value).slice(0, sessionKeyLengthMax);
  }
  return null;
}
